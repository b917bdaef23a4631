"""Sizes and times as people write them."""

from __future__ import annotations

import re
from typing import Final

from provisioner.errors import UsageError

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
_SIZES: Final = {
    "": 1,
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    **{letter: 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
}
_AGES: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_size(text: str) -> int:
    """Bytes, from `20GB`, `512MiB` or `1000`.

    Raises:
        UsageError: it is no size.
    """
    found = _NUMBER.fullmatch(text.strip().lower())
    if not found or found[2] not in _SIZES:
        message = f"`{text}` is no size"
        raise UsageError(message, hint="`20GB`, `512MiB` and `1000` (bytes) are")
    return int(float(found[1]) * _SIZES[found[2]])


def parse_age(text: str) -> float:
    """Seconds, from `30d`, `12h` or `2w`.

    Raises:
        UsageError: it is no length of time.
    """
    found = _NUMBER.fullmatch(text.strip().lower())
    if not found or found[2] not in _AGES:
        message = f"`{text}` is no length of time"
        raise UsageError(message, hint="`30d`, `12h`, `90m` and `2w` are")
    return float(found[1]) * _AGES[found[2]]
