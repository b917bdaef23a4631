"""Progress on a terminal, and one line a file elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from functools import cached_property
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

import click

from provisioner.cli.render import files_text
from provisioner.core.sizes import rate_text, size_text, time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rich.console import Console, RenderableType
    from rich.progress import Progress as AnyBars
    from rich.progress import Task, TaskID

    from provisioner.core.tally import Arriving, Tally

_WHEEL_PARTS: Final = 4
_SHORT_SECONDS: Final = 1.0
_BAR_WIDTH: Final = 24
_INTERRUPT_WIDTH: Final = 2


def beats() -> Iterable[float]:
    """The seconds between signs of life: a minute's worth soon, and then two a minute."""
    return chain(repeat(10.0, 6), repeat(30.0))


class _Counting:
    """What has a tally, from the first file on: few commands fetch."""

    @cached_property
    def _tally(self) -> Tally:
        from provisioner.core.tally import Tally

        return Tally()


class Lines(_Counting):
    """One line a file when it is there, and signs of life in between.

    Short logs, also where nobody looks. `clock` is in seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        every: Callable[[], Iterable[float]] = beats,
    ) -> None:
        self._clock = clock
        self._every = every
        self._counting = threading.Lock()
        self._closed = threading.Event()
        self._beating: threading.Thread | None = None

    def planned(self, sizes: Mapping[str, int | None]) -> None:
        """Say how much is to come."""
        total = sum(size or 0 for size in sizes.values())
        click.echo(f"fetching {files_text(len(sizes), total or None)}", err=True)
        with self._counting:
            self._tally = self._tally.planned(sizes, self._clock())
            self._beat()

    def started(self, key: str, name: str, size: int | None) -> None:
        """Begin to count."""
        with self._counting:
            self._tally = self._tally.started(key, name, size, self._clock())
            self._beat()

    def awaited(self, key: str, name: str, size: int | None) -> None:
        """Begin to count."""
        with self._counting:
            self._tally = self._tally.started(key, name, size, self._clock(), is_others=True)
            self._beat()

    def has(self, key: str, count: int) -> None:
        """Count."""
        with self._counting:
            self._tally = self._tally.has(key, count)

    def advanced(self, key: str, count: int) -> None:
        """Count."""
        with self._counting:
            self._tally = self._tally.advanced(key, count, self._clock())

    def finished(self, key: str) -> None:
        """Say it once."""
        with self._counting:
            before = self._tally.files.get(key)
            self._tally = self._tally.finished(key)
            after = self._tally.files.get(key)
        if before and after and before.name and not before.is_finished:
            click.echo(_ended(after, self._clock()), err=True)

    def note(self, text: str) -> None:
        """Say it."""
        click.echo(text, err=True)

    def close(self) -> None:
        """Every line is out already."""
        self._closed.set()
        if self._beating is not None:
            self._beating.join()

    def _beat(self) -> None:
        """Begin to give signs of life."""
        if self._beating is None and not self._closed.is_set():
            self._beating = threading.Thread(target=self._show, daemon=True)
            self._beating.start()

    def _show(self) -> None:
        for seconds in self._every():
            if self._closed.wait(seconds):
                return
            with self._counting:
                tally = self._tally
            if tally.is_busy:
                click.echo(tally.line(self._clock()), err=True)


def _ended(file: Arriving, now: float) -> str:
    """A file that is there, by whom, how large, and how long it took."""
    facts = [size_text(file.there)]
    if file.before and not file.is_others:
        facts.append(f"{size_text(file.before)} of it were there")
    if file.began is not None and now - file.began >= _SHORT_SECONDS:
        facts.append(time_text(now - file.began))
    who = "another process fetched" if file.is_others else "fetched"
    return f"{who} {file.name} ({', '.join(facts)})"


def short_name(name: str) -> str:
    """The name and version of a wheel, without the tags that fill a line; others as they are."""
    parts = name.split("-")
    return " ".join(parts[:2]) if name.endswith(".whl") and len(parts) > _WHEEL_PARTS else name


class Terminal(_Counting):
    """Bars, which appear with the first file and stay until the command ends.

    `clock` is in seconds; `console` is where they are drawn, by default standard error.
    """

    def __init__(
        self,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._clock = clock
        self._bars: AnyBars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._total: TaskID | None = None
        self._drawing = threading.Lock()

    def planned(self, sizes: Mapping[str, int | None]) -> None:
        """Show a bar for all files together."""
        with self._drawing:
            self._tally = self._tally.planned(sizes, self._clock())
            if self._total is None:
                name, size = self._whole()
                self._total = self._open().add_task(name, total=size)
            self._draw()

    def started(self, key: str, name: str, size: int | None) -> None:
        """Show a bar."""
        self._start(key, name, size, is_others=False)

    def awaited(self, key: str, name: str, size: int | None) -> None:
        """Show a bar."""
        self._start(key, name, size, is_others=True)

    def has(self, key: str, count: int) -> None:
        """Set the bars."""
        with self._drawing:
            self._tally = self._tally.has(key, count)
            self._draw(key)

    def advanced(self, key: str, count: int) -> None:
        """Move the bars."""
        with self._drawing:
            self._tally = self._tally.advanced(key, count, self._clock())
            self._draw(key)

    def finished(self, key: str) -> None:
        """Take the bar away."""
        with self._drawing:
            self._tally = self._tally.finished(key)
            task = self._tasks.pop(key, None)
            if self._bars is not None and task is not None:
                self._bars.remove_task(task)
            self._draw()
            if not self._tally.is_busy:
                # What comes now was not planned, and has no part in the total.
                self._tally = replace(self._tally, files={})
                if self._bars is not None and self._total is not None:
                    self._bars.remove_task(self._total)
                    self._total = None

    def note(self, text: str) -> None:
        """Say it above the bars."""
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False)
        else:
            click.echo(text, err=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bars is not None:
            self._bars.stop()

    def picture(self) -> RenderableType:
        """What is drawn now."""
        return self._open().get_renderable()

    def _start(self, key: str, name: str, size: int | None, *, is_others: bool) -> None:
        with self._drawing:
            self._tally = self._tally.started(key, name, size, self._clock(), is_others=is_others)
            if key not in self._tasks:
                name, size = self._of(key)
                self._tasks[key] = self._open().add_task(name, total=size, key=key)
            self._draw(key)

    def _draw(self, key: str | None = None) -> None:
        if self._bars is None:
            return
        if key is not None and key in self._tasks:
            name, size = self._of(key)
            there = self._tally.files[key].there
            self._bars.update(self._tasks[key], description=name, total=size, completed=there)
        if self._total is not None:
            name, size = self._whole()
            there = self._tally.there
            self._bars.update(self._total, description=name, total=size, completed=there)

    def _of(self, key: str) -> tuple[str, int | None]:
        """What a file is called, and its size."""
        file = self._tally.files[key]
        whose = " (another process)" if file.is_others else ""
        return short_name(file.name) + whose, file.size

    def _whole(self) -> tuple[str, int | None]:
        """The same of all files together."""
        return files_text(len(self._tally.files)), self._tally.size

    def _pace(self, task: Task) -> tuple[float | None, float | None]:
        """The rate of a bar in bytes a second, and how many seconds are left."""
        tally, now = self._tally, self._clock()
        if task.id == self._total:
            return tally.pace.rate(now), tally.left(now)
        file = tally.files.get(task.fields.get("key", ""))
        return (file.pace.rate(now), file.left(now)) if file else (None, None)

    def _open(self) -> AnyBars:
        if self._bars is None:
            from rich.console import Console
            from rich.padding import Padding
            from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn
            from rich.table import Column
            from rich.text import Text

            pace = self._pace

            class NameColumn(ProgressColumn):
                """What a bar is of; the one column that is shortened where all are too wide."""

                def render(self, task: Task) -> Text:
                    return Text(task.description, no_wrap=True, overflow="ellipsis")

            class PaceColumn(ProgressColumn):
                """How fast what is received now comes, and how long the rest takes."""

                def render(self, task: Task) -> Text:
                    rate, left = pace(task)
                    parts = ["" if rate is None else rate_text(rate)]
                    parts += [] if left is None else [f"{time_text(left)} left"]
                    return Text(" ".join(parts))

            class Bars(Progress):
                """Bars that leave room for the `^C` of a terminal, which is no line of its own."""

                def get_renderables(self) -> Iterable[RenderableType]:
                    yield Padding(self.make_tasks_table(self.tasks), (0, _INTERRUPT_WIDTH, 0, 0))

            self._bars = Bars(
                NameColumn(),
                BarColumn(_BAR_WIDTH, table_column=Column(no_wrap=True)),
                DownloadColumn(table_column=Column(no_wrap=True)),
                PaceColumn(table_column=Column(no_wrap=True)),
                console=self._console or Console(file=sys.stderr),
                transient=True,
            )
            self._bars.start()
        return self._bars
