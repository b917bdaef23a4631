"""What every verb is given: the world around it, and the common options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provisioner.workflow.progress import Progress, Quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class World:
    """The process's surroundings, read once at the edge.

    `nvml` gives NVML's functions when they are needed; `now` is in seconds since the epoch.
    `guard` is called before programs are started that have to end when this one is ended.
    """

    variables: Mapping[str, str]
    home: Path
    folder: Path
    now: Callable[[], float]
    nvml: Callable[[], Any]
    progress: Progress = field(default_factory=Quiet)
    guard: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options that all commands share; None where the user named none."""

    project: Path | None = None
    store: Path | None = None
    profile: str | None = None
    force: bool = False
    target: str | None = None
    python: str | None = None
    offline: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What `prepare` alone is asked."""

    only: bool = False
    every: bool = False
    fetch_only: bool = False
    dry_run: bool = False
    adopt: bool = False
