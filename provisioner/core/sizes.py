"""Numbers of bytes, rates and times for people."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")
_STEP: Final = 1000
_ROUGH: Final = 10


def size_text(count: int) -> str:
    """A number of bytes for people."""
    value = float(count)
    for unit in _UNITS:
        rounded = round(value, 0 if unit == _UNITS[0] else 1)
        if rounded < _STEP or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= _STEP
    raise AssertionError


def amount_text(done: int, size: int | None) -> str:
    """How much of something is done, in the unit of the whole, as in `1.2 of 4.1 GB`."""
    if size is None:
        return size_text(done)
    whole = size_text(max(size, done))
    number, unit = whole.split(" ")
    power = _UNITS.index(unit)
    part = f"{done / _STEP**power:.1f}" if power else str(done)
    return f"{part} of {number} {unit}"


def rate_text(bytes_per_second: float) -> str:
    """Bytes a second, with as many digits as a number that changes all the time deserves."""
    text = size_text(round(bytes_per_second))
    number, unit = text.split(" ")
    shown = f"{float(number):.0f}" if float(number) >= _ROUGH else number
    return f"{shown} {unit}/s"


def time_text(seconds: float) -> str:
    """Minutes and seconds, and hours where there are any, as in `1:15`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
