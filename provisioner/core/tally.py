"""How far the fetching is: what is there, what comes, and how long the rest takes.

Times are in seconds of whatever clock the caller has; sizes and counts are in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from provisioner.core.sizes import amount_text, rate_text, time_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_WINDOW_SECONDS: Final = 10.0
_SAMPLE_SECONDS: Final = 0.25
_SHORTEST_SECONDS: Final = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast something came within the last seconds.

    `samples` are a time, and how much had come until then; the oldest first.
    """

    came: int = 0
    samples: tuple[tuple[float, int], ...] = ()

    def more(self, count: int, now: float) -> Pace:
        """So much came; with 0 the clock only begins."""
        recent = tuple(one for one in self.samples if now - one[0] <= _WINDOW_SECONDS)
        came = self.came + count
        if not recent:
            # What comes after silence says nothing about the time of the silence.
            return Pace(came=came, samples=((now, came),))
        if now - recent[-1][0] >= _SAMPLE_SECONDS:
            recent = (*recent, (now, came))
        return Pace(came=came, samples=recent)

    def rate(self, now: float) -> float | None:
        """Bytes a second; None as long as it is too early to tell, or nothing began."""
        if not self.samples:
            return None
        recent = [one for one in self.samples if now - one[0] <= _WINDOW_SECONDS]
        if not recent:
            return 0.0
        since, before = recent[0]
        if now - since < _SHORTEST_SECONDS:
            return None
        return (self.came - before) / (now - since)


@dataclass(frozen=True, kw_only=True, slots=True)
class Arriving:
    """A file that is fetched, or going to be.

    `there` is how much of it is there, `before` how much of this nobody received now.
    `is_others` says that another process fetches it.
    """

    name: str = ""
    size: int | None = None
    there: int = 0
    before: int = 0
    began: float | None = None
    is_others: bool = False
    is_finished: bool = False
    pace: Pace = field(default_factory=Pace)

    def left(self, now: float) -> float | None:
        """Seconds until it is there, as fast as it comes now; None where that is unknown."""
        return _seconds(self.size, self.there, self.pace.rate(now))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """All files of a command by their keys, and the pace of all together.

    Only what arrives now counts for the pace, be it that another process receives it: what
    was there before, and bytes that a file takes back when it starts over, do not.
    """

    files: Mapping[str, Arriving] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)

    def planned(self, sizes: Mapping[str, int | None], now: float) -> Tally:
        """Files of these sizes are going to be fetched."""
        new = {key: Arriving(size=size) for key, size in sizes.items()}
        return replace(self, files={**self.files, **new}, pace=self.pace.more(0, now))

    def started(
        self, key: str, name: str, size: int | None, now: float, *, is_others: bool = False
    ) -> Tally:
        """A file begins to arrive, here or in another process."""
        old = self.files.get(key, Arriving())
        began = now if old.began is None else old.began
        new = replace(
            old,
            name=name,
            size=old.size if size is None else size,
            began=began,
            is_others=is_others,
            is_finished=False,
            pace=old.pace.more(0, now),
        )
        return replace(self, files={**self.files, key: new}, pace=self.pace.more(0, now))

    def has(self, key: str, there: int) -> Tally:
        """So much of a file is there, however it came."""
        old = self.files.get(key, Arriving())
        before = max(0, old.before + there - old.there)
        return self._with(key, replace(old, there=there, before=before))

    def advanced(self, key: str, count: int, now: float) -> Tally:
        """So much more of a file has come."""
        old = self.files.get(key, Arriving())
        new = replace(old, there=old.there + count, pace=old.pace.more(count, now))
        return replace(self._with(key, new), pace=self.pace.more(count, now))

    def finished(self, key: str) -> Tally:
        """A file is there, whoever fetched it; one that nobody planned does not matter."""
        old = self.files.get(key)
        if old is None:
            return self
        there = old.there if old.size is None else old.size
        return self._with(key, replace(old, there=there, size=there, is_finished=True))

    @property
    def is_busy(self) -> bool:
        """Whether anything is still to arrive."""
        return any(not file.is_finished for file in self.files.values())

    @property
    def size(self) -> int | None:
        """Of all files together; None as long as one of them is unknown."""
        sizes = [file.size for file in self.files.values()]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    @property
    def there(self) -> int:
        """How much is there."""
        return sum(file.there for file in self.files.values())

    def left(self, now: float) -> float | None:
        """Seconds until all is there, as fast as it comes now; None where that is unknown."""
        return _seconds(self.size, self.there, self.pace.rate(now))

    def line(self, now: float) -> str:
        """All of this as one line for people."""
        parts = [f"fetched {amount_text(self.there, self.size)}"]
        if self.size is None:
            whole = sum(file.is_finished for file in self.files.values())
            parts.append(f"{whole} of {len(self.files)} files")
        rate = self.pace.rate(now)
        if rate is not None:
            parts.append(rate_text(rate))
        left = self.left(now)
        if left is not None:
            parts.append(f"{time_text(left)} left")
        awaited = sum(file.is_others and not file.is_finished for file in self.files.values())
        if awaited:
            files = "a file" if awaited == 1 else f"{awaited} files"
            parts.append(f"another process fetches {files} of them")
        return ", ".join(parts)

    def _with(self, key: str, file: Arriving) -> Tally:
        return replace(self, files={**self.files, key: file})


def _seconds(size: int | None, there: int, rate: float | None) -> float | None:
    if size is None or not rate:
        return None
    return max(0, size - there) / rate
