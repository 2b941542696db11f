"""A settings file in force for what a test starts, and for the test itself."""

from __future__ import annotations

from pathlib import Path

import pytest


def configured(folder: Path, patch: pytest.MonkeyPatch, text: str) -> Path:
    """The file `config.toml` of this folder, with this text, as $FIRSTHAND_CONFIG."""
    file = folder / "config.toml"
    file.write_text(text)
    patch.setenv("FIRSTHAND_CONFIG", str(file))
    return file
