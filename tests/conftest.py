"""What all tests share: properties are tried without a deadline, since a machine may be busy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("firsthand", deadline=None)
settings.load_profile("firsthand")
