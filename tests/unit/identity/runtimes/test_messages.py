"""The committed messages are those of messages.proto, and a runtime's own are read by them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from firsthand.identity.runtimes import messages_pb2 as m

SOURCE = Path(m.__file__).with_name("messages.proto")
_ROOT = SOURCE.parents[3]


def test_the_committed_messages_are_the_files(tmp_path: Path) -> None:
    """Compiled anew, the file is the same."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{_ROOT}", f"--python_out={tmp_path}", str(SOURCE)]
    subprocess.run(command, check=True)
    made = tmp_path / SOURCE.relative_to(_ROOT).with_name("messages_pb2.py")
    assert made.read_text() == Path(m.__file__).read_text(), "run `make docs`"


def test_one_label_that_is_not_utf8_spoils_itself_alone() -> None:
    """A map of strings on the wire, with a value that protobuf would refuse in a string."""
    entry = b"\x0a\x01k\x12\x02\xff\xfe"  # key = 1: "k", value = 2: two bytes
    status = m.PodSandboxStatus.FromString(b"\x0a\x02id" + b"\x3a" + bytes([len(entry)]) + entry)
    assert status.id == "id" and [(pair.key, pair.value) for pair in status.labels] == [(b"k", b"\xff\xfe")]
