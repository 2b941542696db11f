"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """Processor, number, memory, kernel, Python."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    name = model[1] if model else platform.machine()
    return f"{name} x {os.cpu_count()}, {memory} GiB, Linux {platform.release()}, Python {platform.python_version()}"
