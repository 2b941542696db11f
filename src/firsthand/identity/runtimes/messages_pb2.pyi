"""Generated classes are made at import: their fields are as messages.proto says."""

from typing import Any

def __getattr__(name: str) -> Any: ...
