"""Numbers of bytes for people."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")
_STEP: Final = 1000


def size_text(count: int) -> str:
    """A number of bytes for people."""
    value = float(count)
    for unit in _UNITS:
        rounded = round(value, 0 if unit == _UNITS[0] else 1)
        if rounded < _STEP or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= _STEP
    raise AssertionError
