"""What is prepared in a project, and the generations of what was active."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import NotPreparedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


_RECIPE: Final = frozenset({"folder", "lock", "lock_hash", "lock_stamp", "python"})
"""What has to be known of how an environment was made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """An environment as it was when we had made it.

    `stamp` changes when packages come or go; `inputs` is a digest of what it was made
    from, and `recipe` what it takes to make it again from the same inputs.
    """

    profile: str
    environment: str
    stamp: tuple[int, int]
    inputs: str
    recipe: dict[str, Any]

    @property
    def folder(self) -> str:
        """The project that it is for: members of a workspace share `.venv`, not environments."""
        return str(self.recipe["folder"])

    def is_like(self, other: Prepared) -> bool:
        """Whether both were made from the same inputs for the same profile."""
        return (self.profile, self.inputs) == (other.profile, other.inputs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """One entry of the history; `automatic` where gpuenv chose, not the user.

    `time` is in whole seconds since the epoch.
    """

    number: int
    prepared: Prepared
    automatic: bool
    time: int


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """Every generation in order, and the number of the active one."""

    generations: tuple[Generation, ...] = ()
    active: int | None = None

    @property
    def current(self) -> Generation | None:
        """The active generation."""
        return next((item for item in self.generations if item.number == self.active), None)

    def last_of(self, folder: str) -> Generation | None:
        """What was last active for one project: the active generation, or an earlier one."""
        current = self.current
        if current and current.prepared.folder == folder:
            return current
        own = [item for item in self.generations if item.prepared.folder == folder]
        return own[-1] if own else None

    def activate(self, prepared: Prepared, *, automatic: bool, now: int) -> History:
        """Append a generation; what is active already makes none, nor does its renewal."""
        known = self.renewed(prepared)
        current = known.current
        if current and current.prepared.is_like(prepared):
            # By hand stays by hand; what was chosen for users they can confirm.
            same = replace(current, automatic=automatic and current.automatic)
            return replace(
                known,
                generations=tuple(same if item is current else item for item in known.generations),
            )
        number = max((item.number for item in known.generations), default=0) + 1
        added = Generation(number=number, prepared=prepared, automatic=automatic, time=now)
        return History(generations=(*known.generations, added), active=number)

    def find(self, number: int | None) -> Generation:
        """The generation of a number; without one, the last earlier one of another environment.

        Two in turn have the same where users go back and forth, and where a switch that was
        killed before its flip is made again.

        Raises:
            NotPreparedError: there is none.
        """
        known = tuple(str(item.number) for item in self.generations)
        if number is None:
            current = self.current
            earlier = [
                item
                for item in self.generations
                if current
                and item.number < current.number
                and not item.prepared.is_like(current.prepared)
            ]
            if earlier:
                return earlier[-1]
            message = "there is no earlier generation"
        else:
            for item in self.generations:
                if item.number == number:
                    return item
            message = f"there is no generation {number}"
        causes = (f"generations are {', '.join(known)}, active is {self.active}",) if known else ()
        raise NotPreparedError(message, causes=causes, code="generation-unknown")

    def go_back(self, generation: Generation, prepared: Prepared) -> History:
        """Make an earlier generation the active one, by hand; numbers stay."""
        known = self.renewed(prepared)
        return replace(
            known,
            active=generation.number,
            generations=tuple(
                replace(item, automatic=False) if item.number == generation.number else item
                for item in known.generations
            ),
        )

    def renewed(self, prepared: Prepared) -> History:
        """The history with an environment in the place of others of the same inputs."""
        return replace(
            self,
            generations=tuple(
                replace(item, prepared=prepared) if item.prepared.is_like(prepared) else item
                for item in self.generations
            ),
        )


def of_folder(prepared: Iterable[Prepared], folder: str) -> dict[str, Prepared]:
    """The prepared profiles of one project."""
    return {item.profile: item for item in prepared if item.folder == folder}


def with_prepared(old: Iterable[Prepared], new: Iterable[Prepared]) -> tuple[Prepared, ...]:
    """Newly prepared environments in the place of older ones of the same project and profile."""
    every = {(item.folder, item.profile): item for item in (*old, *new)}
    return tuple(every.values())


def to_json(history: History, prepared: Iterable[Prepared]) -> dict[str, Any]:
    """The written form; every environment stands once, however many generations it had."""
    prepared = tuple(prepared)
    every = [*(item.prepared for item in history.generations), *prepared]
    return {
        "environments": {
            item.environment: {
                "profile": item.profile,
                "stamp": list(item.stamp),
                "inputs": item.inputs,
                "recipe": item.recipe,
            }
            for item in every
        },
        "prepared": [item.environment for item in prepared],
        "active": history.active,
        "generations": [
            {
                "number": item.number,
                "environment": item.prepared.environment,
                "automatic": item.automatic,
                "time": item.time,
            }
            for item in history.generations
        ],
    }


def from_json(data: Mapping[str, Any]) -> tuple[History, tuple[Prepared, ...]]:
    """Read the written form.

    Raises:
        KeyError, TypeError, ValueError: it is damaged.
    """
    every = {}
    for environment, item in data["environments"].items():
        inode, nanoseconds = item["stamp"]
        if missing := _RECIPE - item["recipe"].keys():
            raise KeyError(*sorted(missing))
        every[environment] = Prepared(
            profile=item["profile"],
            environment=environment,
            stamp=(inode, nanoseconds),
            inputs=item["inputs"],
            recipe=item["recipe"],
        )
    history = History(
        active=data["active"],
        generations=tuple(
            Generation(
                number=item["number"],
                prepared=every[item["environment"]],
                automatic=item["automatic"],
                time=item["time"],
            )
            for item in data["generations"]
        ),
    )
    return history, tuple(every[environment] for environment in data["prepared"])
