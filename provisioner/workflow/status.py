"""What is active, what is prepared, and whether it is as it was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from provisioner.adapters.state import is_intact
from provisioner.workflow.switch import open_state

if TYPE_CHECKING:
    from provisioner.core.history import Generation, Prepared
    from provisioner.workflow.world import Options, World

Condition = Literal["intact", "changed", "gone"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusResult:
    """The active profile and generation, and the condition of every prepared environment."""

    active: str | None
    generation: int | None
    environment: str | None
    automatic: bool
    link: str
    linked: bool
    prepared: tuple[tuple[str, str, Condition], ...]
    generations: tuple[Generation, ...]

    @property
    def damaged(self) -> bool:
        """Whether an environment is gone, or `.venv` does not lead to the active one."""
        gone = any(condition == "gone" for _, _, condition in self.prepared)
        return gone or (self.active is not None and not self.linked)

    def to_json(self) -> dict[str, Any]:
        """The fields of `status --json`."""
        return {
            "active": self.active,
            "generation": self.generation,
            "environment": self.environment,
            "automatic": self.automatic,
            "link": self.link,
            "linked": self.linked,
            "prepared": [
                {"profile": name, "environment": path, "condition": condition}
                for name, path, condition in self.prepared
            ],
            "generations": [
                {
                    "number": item.number,
                    "profile": item.prepared.profile,
                    "environment": item.prepared.environment,
                    "automatic": item.automatic,
                    "time": item.time,
                }
                for item in self.generations
            ],
            "findings": [
                {
                    "code": f"environment-{condition}",
                    "message": f"the environment of `{name}` is {condition}",
                    "hint": f"`gpuenv switch {name}` makes it again",
                }
                for name, _, condition in self.prepared
                if condition != "intact"
            ],
        }


def status(world: World, options: Options) -> StatusResult:
    """Look at the project's environments, a stat each."""
    states = open_state(world, options)
    state = states.read()
    current = state.history.current
    linked = states.linked()
    return StatusResult(
        active=current.prepared.profile if current else None,
        generation=current.number if current else None,
        environment=current.prepared.environment if current else None,
        automatic=current.automatic if current else False,
        link=str(states.link),
        linked=current is not None and str(linked) == current.prepared.environment,
        prepared=tuple(
            (name, item.environment, condition_of(item)) for name, item in state.prepared.items()
        ),
        generations=state.history.generations,
    )


def condition_of(prepared: Prepared) -> Condition:
    """Whether an environment is as it was made, changed since, or gone."""
    if is_intact(prepared):
        return "intact"
    return "changed" if Path(prepared.environment).is_dir() else "gone"
