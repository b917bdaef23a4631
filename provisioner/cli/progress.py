"""Progress on a terminal, and one line a file elsewhere."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Final

import click

from provisioner.cli.render import files_text
from provisioner.core.sizes import size_text

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


_WHEEL_PARTS: Final = 4


class Lines:
    """One line a file when it is there: short logs, also where nobody looks."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[str, int]] = {}
        self._counting = threading.Lock()

    def planned(self, files: int, size: int) -> None:
        """Say how much is to come."""
        click.echo(f"fetching {files_text(files, size or None)}", err=True)

    def started(self, key: str, name: str, size: int | None) -> None:  # noqa: ARG002 - Progress
        """Begin to count."""
        with self._counting:
            self._files[key] = (name, 0)

    def advanced(self, key: str, count: int) -> None:
        """Count."""
        with self._counting:
            name, size = self._files[key]
            self._files[key] = (name, size + count)

    def finished(self, key: str) -> None:
        """Say it."""
        with self._counting:
            name, size = self._files.pop(key, ("", 0))
        if name:
            click.echo(f"fetched {name} ({size_text(size)})", err=True)

    def note(self, text: str) -> None:
        """Say it."""
        click.echo(text, err=True)

    def close(self) -> None:
        """Every line is out already."""


def short_name(name: str) -> str:
    """The name and version of a wheel, without the tags that fill a line; others as they are."""
    parts = name.split("-")
    return " ".join(parts[:2]) if name.endswith(".whl") and len(parts) > _WHEEL_PARTS else name


class Terminal:
    """Bars, which appear with the first file and stay until the command ends."""

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._total: TaskID | None = None
        self._left = 0
        self._drawing = threading.Lock()

    def planned(self, files: int, size: int) -> None:
        """Show a bar for all files together."""
        with self._drawing:
            self._left = files
            self._total = self._open().add_task(files_text(files), total=size or None)

    def started(self, key: str, name: str, size: int | None) -> None:
        """Show a bar."""
        with self._drawing:
            self._tasks[key] = self._open().add_task(short_name(name), total=size)

    def advanced(self, key: str, count: int) -> None:
        """Move the bars."""
        bars = self._bars
        if bars is not None:
            bars.advance(self._tasks[key], count)
            if self._total is not None:
                bars.advance(self._total, count)

    def finished(self, key: str) -> None:
        """Take the bar away."""
        with self._drawing:
            task = self._tasks.pop(key, None)
            if self._bars is None or task is None:
                return
            self._bars.remove_task(task)
            self._left -= 1
            if self._left == 0 and self._total is not None:
                # What comes now was not planned, and has no part in the total.
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

    def _open(self) -> Bars:
        if self._bars is None:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=Console(file=sys.stderr),
                transient=True,
            )
            self._bars.start()
        return self._bars
