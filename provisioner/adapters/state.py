"""`.venv` and `.gpuenv/`: all that gpuenv keeps in a project.

`.gpuenv/state.json` holds the history of what was active, what is prepared, and the inputs
of the last `prepare`. `.venv` is a link, and the flip of it, after the state was written, is
the commit: where a crash leaves both at odds, the link tells what is active.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters._files import (
    NO_SPACE,
    locked,
    names_in,
    read_json,
    sync_folder,
    write_whole,
)
from provisioner.core.history import History, Prepared, from_json, to_json
from provisioner.errors import GpuenvError, PolicyError, SpaceError, said

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

SCHEMA: Final = 1
POINTER: Final = "home"
_STAGED: Final = (".state.json.", ".pylock.")
"""How the files begin that are about to get their name while a project is held."""
_LAST: Final = frozenset({"request", "inputs", "blobs", "result"})


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What a project remembers.

    `last` is what the last `prepare` was asked, read and answered; `filled` are the uvs whose
    caches it has filled. `seed` is the PEP 751 lock of what each environment gets beside its own
    (pip), None where they get nothing.
    """

    history: History = field(default_factory=History)
    prepared: tuple[Prepared, ...] = ()
    target: dict[str, Any] | None = None
    last: dict[str, Any] | None = None
    filled: tuple[dict[str, Any], ...] = ()
    seed: str | None = None


class StateFolder:
    """The link and the state of one project."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.link = home / ".venv"
        self._folder = home / ".gpuenv"
        self._file = self._folder / "state.json"
        # Always of this name, so that whoever comes next finds what a kill has left.
        self._staged = home / ".venv.gpuenv"

    @contextmanager
    def hold(
        self, *, wait_seconds: float, waiting: Callable[[str], None] | None = None
    ) -> Iterator[None]:
        """Keep other processes from changing this project meanwhile.

        Raises:
            LockHeldError: another process is still at it after `wait_seconds`.
            GpuenvError: the project cannot be written to.
            SpaceError: its file system is full.
        """
        with ExitStack() as held:
            with self._room():
                try:
                    _make_folder(self._folder)
                except OSError as error:
                    if error.errno in NO_SPACE:
                        raise
                    message = f"cannot write to `{self.home}`"
                    raise GpuenvError(message, causes=(said(error),)) from error
                lock = self._folder / "lock"
                held.enter_context(locked(lock, wait_seconds=wait_seconds, waiting=waiting))
            self._clear()
            yield

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Tell that it is the project's file system that is full, and not the store's."""
        try:
            yield
        except (OSError, SpaceError) as error:
            if isinstance(error, OSError) and error.errno not in NO_SPACE:
                raise
            message = f"no space left on the file system of `{self.home}`"
            hint = "free some space there; what was active is so still"
            raise SpaceError(message, hint=hint) from error

    def _clear(self) -> None:
        """Remove what those who held the project before have left half done, being killed."""
        self._clear_link()
        for name in names_in(str(self._folder)):
            if name.startswith(_STAGED):
                (self._folder / name).unlink()

    def _clear_link(self) -> None:
        if self._staged.is_symlink():
            self._staged.unlink()

    def lead_from(self, member: Path) -> None:
        """Let a member of the workspace find this state without reading the workspace."""
        folder = member / self._folder.name
        _make_folder(folder)
        # Relative, so that a copy of the workspace does not lead into the original.
        write_whole(folder / POINTER, f"{os.path.relpath(self.home, member)}\n")

    def read(self) -> State:
        """What is remembered; an empty state where nothing is.

        Raises:
            GpuenvError: the state is of another format.
        """
        try:
            data = read_json(self._file)
            if data is None:
                return State()
            schema = data.get("schema")
            state = self._parse(data) if schema == SCHEMA else None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = f"`{self._file}` is damaged"
            raise GpuenvError(
                message,
                causes=(f"{type(error).__name__}: {error}",),
                hint="delete it; `gpuenv prepare` makes it anew, and fetches nothing again",
                code="state-damaged",
            ) from error
        if state is None:
            message = f"`{self._file}` has another format"
            causes = (f"this gpuenv knows schema `{SCHEMA}`, the file has `{schema}`",)
            raise GpuenvError(message, causes=causes, code="state-format")
        return replace(state, history=self._as_linked(state.history))

    def _parse(self, data: dict[str, Any]) -> State:
        if data["home"] != str(self.home):
            # A copy of the project, or it was moved: its environments belong to the old place.
            return State(target=data["target"], seed=data.get("seed"))
        history, prepared = from_json(data)
        if data["last"] is not None and not data["last"].keys() >= _LAST:
            raise KeyError(*sorted(_LAST - data["last"].keys()))
        return State(
            history=history,
            prepared=prepared,
            target=data["target"],
            last=data["last"],
            filled=tuple(data.get("filled", ())),
            seed=data.get("seed"),
        )

    def write(self, state: State) -> None:
        """Remember a state.

        Raises:
            SpaceError: the file system of the project is full; the old state is as it was.
        """
        data = {
            "schema": SCHEMA,
            "home": str(self.home),
            **to_json(state.history, state.prepared),
            "target": state.target,
            "last": state.last,
            "filled": list(state.filled),
            "seed": state.seed,
        }
        with self._room():
            write_whole(self._file, json.dumps(data, indent=1) + "\n")

    def is_foreign(self, is_ours: Callable[[Path], bool], history: History) -> bool:
        """Whether `.venv` is there and not ours: a folder, a file, a link to somewhere else."""
        if not os.path.lexists(self.link):
            return False
        target = self.linked()
        known = {item.prepared.environment for item in history.generations}
        return target is None or not (str(target) in known or is_ours(target))

    def check_link(self, is_ours: Callable[[Path], bool], history: History) -> None:
        """Refuse a `.venv` that is not ours.

        Raises:
            PolicyError: it is a folder, a file, or a link to somewhere else.
        """
        if not self.is_foreign(is_ours, history):
            return
        target = self.linked()
        what = f"links to `{target}`" if target else "is not a link"
        message = f"`{self.link}` was not made by gpuenv"
        raise PolicyError(
            message,
            causes=(f"it {what}",),
            hint="`gpuenv prepare --adopt` moves it aside",
            code="foreign-environment",
        )

    def move_aside(self) -> Path | None:
        """Rename a `.venv` that is not ours, and say where to.

        Raises:
            GpuenvError: it cannot be, such as where something is mounted on it.
        """
        if not os.path.lexists(self.link):
            return None
        _make_folder(self._folder)
        aside = self._folder / f"venv-before-{os.urandom(3).hex()}"
        try:
            self.link.rename(aside)
        except OSError as error:
            message = f"cannot move `{self.link}` to `{aside}`"
            raise GpuenvError(message, causes=(said(error),)) from error
        return aside

    def linked(self) -> Path | None:
        """Where `.venv` points; None where it is no link."""
        try:
            return self.home / self.link.readlink()
        except OSError:
            return None

    def flip(self, environment: Path) -> bool:
        """Point `.venv` at an environment with one rename; False where it does already."""
        if self.linked() == environment:
            return False
        first = not os.path.lexists(self.link)
        with self._room():
            try:
                self._staged.symlink_to(environment, target_is_directory=True)
                self._staged.replace(self.link)
            except OSError:
                self._clear_link()
                raise
        sync_folder(self.home)
        if first:
            self._hide_from_git()
        return True

    def _as_linked(self, history: History) -> History:
        """The history with the generation active that `.venv` points at.

        A crash after the state was written and before the flip leaves the newer number.
        """
        linked = self.linked()
        current = history.current
        if linked is None or (current and current.prepared.environment == str(linked)):
            return history
        for item in reversed(history.generations):
            if item.prepared.environment == str(linked):
                return replace(history, active=item.number)
        return history

    def _hide_from_git(self) -> None:
        """Put `.venv` into `.git/info/exclude` where git would show it.

        `.venv/` in a `.gitignore` means a folder and does not match a link.
        """
        if not any((folder / ".git").exists() for folder in (self.home, *self.home.parents)):
            return
        try:
            shown = self._git("check-ignore", "-q", ".venv").returncode == 1
            if shown:
                said = self._git("rev-parse", "--git-path", "info/exclude").stdout.strip()
                prefix = self._git("rev-parse", "--show-prefix").stdout.strip()
                exclude = self.home / said
                exclude.parent.mkdir(parents=True, exist_ok=True)
                before = exclude.read_text(encoding="utf-8") if exclude.exists() else ""
                gap = "\n" if before and not before.endswith("\n") else ""
                with exclude.open("a", encoding="utf-8") as file:
                    file.write(f"{gap}/{prefix}.venv\n")
        except OSError:
            return  # No git, or a repository that is not ours to write: only cosmetics are lost.

    def _git(self, *words: str) -> subprocess.CompletedProcess[str]:
        import subprocess

        return subprocess.run(
            ["git", *words], cwd=self.home, capture_output=True, text=True, check=False
        )


def _make_folder(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        write_whole(ignore, "*\n")
