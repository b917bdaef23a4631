"""What every verb is given: the world around it, and the common options."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.core.policy import ALL, GpuPolicy
from provisioner.workflow.progress import Progress, Quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.core.host import Target


@dataclass(frozen=True, kw_only=True)
class World:
    """The process's surroundings, read once at the edge.

    `now` is in seconds since the epoch. `guard` is called before programs are started that
    have to end when this one is ended. `root` is where the files lie that tell of the driver
    and the GPUs: another one than `/` is another machine's, such as a host's at `/host`.
    `told` is what was said already and is to be said once.
    """

    variables: Mapping[str, str]
    home: Path
    folder: Path
    now: Callable[[], float]
    progress: Progress = field(default_factory=Quiet)
    guard: Callable[[], None] = lambda: None
    root: Path = Path("/")
    told: set[str] = field(default_factory=set, compare=False, repr=False)

    def note_once(self, text: str) -> None:
        """Say something, unless it was said so before."""
        if text not in self.told:
            self.told.add(text)
            self.progress.note(text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options that all commands share; None where the user named none.

    `targets` are several targets at once, which only some commands take; `target` is one.
    """

    project: Path | None = None
    store: Path | None = None
    profile: str | None = None
    force: bool = False
    target: str | None = None
    targets: tuple[str, ...] = ()
    gpu_policy: GpuPolicy = ALL
    python: str | None = None
    offline: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What `prepare` and `lock` alone are asked.

    `upgrade`: locks are made anew, whatever they have. `remember`: the named target counts
    from now on. `also` are other targets that a lock which gpuenv makes has to hold for.
    `uvs` are further uvs to fill, as they are named or as paths; `proof`: every client is tried
    at the end, or none; None tries uv where something was fetched or made. `seed`: environments
    get pip, or none any more; None is as it is remembered; `seed_lock` is the lock that has pip,
    where none is remembered. `keep`: an environment that was
    changed is taken as it is.
    """

    only: bool = False
    every: bool = False
    fetch_only: bool = False
    dry_run: bool = False
    adopt: bool = False
    upgrade: bool = False
    remember: bool = True
    also: tuple[Target, ...] = ()
    uvs: tuple[str | Path, ...] = ()
    proof: bool | None = None
    seed: bool | None = None
    seed_lock: str | None = None
    keep: bool = False
