"""What is active, what is prepared, and whether it is as it was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from provisioner.adapters.environment import (
    changes_of,
    is_intact,
    is_ours,
    is_outdated,
    made_for,
    python_fault,
)
from provisioner.core.history import of_folder
from provisioner.core.installed_files import told
from provisioner.errors import IntegrityError
from provisioner.workflow.place import folder_of, state_of, store_of
from provisioner.workflow.switch import MENDS_PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.adapters.state import StateFolder
    from provisioner.core.drift import Difference
    from provisioner.core.history import Generation, History, Prepared
    from provisioner.core.installed_files import FileDamage
    from provisioner.workflow.world import Options, World

Condition = Literal["intact", "outdated", "changed", "damaged", "broken", "gone"]

MAKES_OWN: Final = "`gpuenv prepare` makes one of this project's own"
MENDS: Final = "`gpuenv store verify --repair` mends it, and uv's cache"


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusResult:
    """The active profile and generation, and the condition of every prepared environment.

    `member` is the folder of another member of the workspace, where `.venv` is its own; `other`
    that of another project, or of this one before it was moved, where `.venv` is its still.
    `damaged` are files of environments, by their paths, that are not as they were installed,
    as far as a stat shows that. `changes` are packages that are not those that an environment
    was made with. `broken` says why those do not start whose Python is not what it
    was.
    """

    active: str | None
    generation: int | None
    environment: str | None
    automatic: bool
    link: str
    linked: bool
    foreign: bool
    member: str | None
    other: str | None
    prepared: tuple[tuple[str, str, Condition], ...]
    damaged: Mapping[str, tuple[FileDamage, ...]]
    broken: Mapping[str, str]
    changes: Mapping[str, tuple[Difference, ...]]
    generations: tuple[Generation, ...]
    target: dict[str, Any] | None

    def damage(self) -> IntegrityError | None:
        """What is broken: an environment or files of it, a `.venv` that does not lead to one."""
        gone = [name for name, _, condition in self.prepared if condition == "gone"]
        causes = [f"the environment of `{name}` is gone" for name in gone]
        astray = self.active is not None and not self.linked
        if astray:
            causes.append(f"`{self.link}` does not lead to the environment of `{self.active}`")
        names = {path: name for name, path, _ in self.prepared}
        for path, files in self.damaged.items():
            of = f"of `{names[path]}`" if path in names else f"`{path}`"
            causes += [f"the environment {of} is damaged: {cause}" for cause in told(files)]
        for path, fault in self.broken.items():
            of = f"of `{names[path]}`" if path in names else f"`{path}`"
            causes.append(f"the environment {of} does not start: {fault}")
        if not causes:
            return None
        if self.foreign:
            hint = "`gpuenv prepare --adopt` moves what is there aside"
        elif self.broken:
            hint = MENDS_PYTHON
        elif gone or astray:
            hint = f"`gpuenv switch {gone[0] if gone else self.active}` mends it"
        else:
            hint = MENDS
        return IntegrityError(
            "what was prepared is damaged",
            causes=tuple(causes),
            hint=hint,
            code="environment-damaged",
            data=self.to_json(),
        )

    @property
    def warning(self) -> str:
        """That what is installed here goes to another project, in words; empty if not."""
        if not self.other:
            return ""
        return f"`{self.link}` leads to an environment of `{self.other}`"

    def to_json(self) -> dict[str, Any]:
        """The fields of `status --json`."""
        another = {
            "code": "environment-of-another",
            "message": self.warning,
            "hint": MAKES_OWN,
        }
        return {
            "active": self.active,
            "generation": self.generation,
            "environment": self.environment,
            "automatic": self.automatic,
            "link": self.link,
            "linked": self.linked,
            "prepared": [
                {
                    "profile": name,
                    "environment": path,
                    "condition": condition,
                    "changes": [item.to_json() for item in self.changes.get(path, ())],
                    "damaged": [item.to_json() for item in self.damaged.get(path, ())],
                }
                for name, path, condition in self.prepared
            ],
            "generations": [
                {
                    "number": item.number,
                    "profile": item.prepared.profile,
                    "environment": item.prepared.environment,
                    "automatic": item.automatic,
                    "time": item.time,
                    "active": item.number == self.generation,
                }
                for item in self.generations
            ],
            "target": self.target,
            "member": self.member,
            "findings": [
                *(
                    {
                        "code": f"environment-{condition}",
                        "message": f"the environment of `{name}` is {condition}",
                        "hint": hint_for(name, condition),
                    }
                    for name, _, condition in self.prepared
                    if condition != "intact"
                ),
                *([another] if self.warning else []),
            ],
        }


def status(world: World, options: Options) -> StatusResult:
    """Look at the project's environments, by stats: of each, and of each of its files."""
    folder, _ = folder_of(world, options)
    states = state_of(world, options)
    state = states.read()
    current = state.history.current
    linked = states.linked()
    prepared = of_folder(state.prepared, str(folder))
    paths = {item.environment for item in prepared.values()}
    every = {*paths, current.prepared.environment} if current else paths
    damaged = _damaged(every, store_of(world, options).lower)
    faults = ((path, python_fault(Path(path))) for path in sorted(every) if Path(path).is_dir())
    broken = {path: fault for path, fault in faults if fault}
    return StatusResult(
        active=current.prepared.profile if current else None,
        generation=current.number if current else None,
        environment=current.prepared.environment if current else None,
        automatic=current.automatic if current else False,
        link=str(states.link),
        linked=current is not None and str(linked) == current.prepared.environment,
        member=current.prepared.folder
        if current and current.prepared.folder != str(folder)
        else None,
        other=_other(states, state.history, linked),
        foreign=states.is_foreign(is_ours, state.history),
        prepared=tuple(
            (
                name,
                item.environment,
                "broken"
                if item.environment in broken
                else "damaged"
                if item.environment in damaged
                else condition_of(item),
            )
            for name, item in prepared.items()
        ),
        damaged=damaged,
        broken=broken,
        changes={
            item.environment: changes_of(Path(item.environment))
            for item in prepared.values()
            if not is_intact(item)
        },
        target=state.target,
        generations=state.history.generations,
    )


def _other(states: StateFolder, history: History, linked: Path | None) -> str | None:
    """The project whose environment `.venv` leads to, if that is another one's."""
    if linked is None or str(linked) in {i.prepared.environment for i in history.generations}:
        return None
    project = made_for(linked)
    return str(project) if project and not project.is_relative_to(states.home) else None


def _damaged(paths: Iterable[str], lower: tuple[Path, ...]) -> dict[str, tuple[FileDamage, ...]]:
    """The damaged files of environments that are ours, each in the store that it lies in."""
    from provisioner.adapters.store import Store
    from provisioner.workflow.soundness import look_at

    found = {}
    for path in map(Path, sorted(paths)):
        if is_ours(path):
            damage = look_at(Store(path.parent.parent, lower), [path]).damage[path]
            if damage:
                found[str(path)] = tuple(damage)
    return found


def hint_for(profile: str, condition: Condition) -> str:
    """What to do about an environment that is not intact."""
    if condition == "damaged":
        return MENDS
    if condition == "broken":
        return MENDS_PYTHON
    if condition == "outdated":
        return "it was made from an older lock; `gpuenv prepare` makes a new one"
    return f"`gpuenv switch {profile}` makes it again"


def condition_of(prepared: Prepared) -> Condition:
    """Whether an environment is as it was made, its lock newer, it changed since, or gone."""
    if is_intact(prepared):
        return "outdated" if is_outdated(prepared) else "intact"
    return "changed" if Path(prepared.environment).is_dir() else "gone"
