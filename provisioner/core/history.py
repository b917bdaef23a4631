"""What is prepared in a project, and the generations of what was active."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioner.errors import NotPreparedError

if TYPE_CHECKING:
    from collections.abc import Mapping


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

    def activate(self, prepared: Prepared, *, automatic: bool, now: int) -> History:
        """Append a generation; what is active already makes none."""
        current = self.current
        if current and current.prepared.environment == prepared.environment:
            if current.automatic == automatic or automatic:
                return self
            # The user confirmed by hand what was chosen for them.
            return self._replace(current, prepared, automatic=False)
        number = max((item.number for item in self.generations), default=0) + 1
        added = Generation(number=number, prepared=prepared, automatic=automatic, time=now)
        return History(generations=(*self.generations, added), active=number)

    def find(self, number: int | None) -> Generation:
        """The generation of a number; without one, the one before the active one.

        Raises:
            NotPreparedError: there is none.
        """
        known = tuple(str(item.number) for item in self.generations)
        if number is None:
            earlier = [item for item in self.generations if item.number < (self.active or 0)]
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
        """Make an earlier generation the active one; numbers stay."""
        return History(
            generations=self._replace(
                generation, prepared, automatic=generation.automatic
            ).generations,
            active=generation.number,
        )

    def _replace(self, generation: Generation, prepared: Prepared, *, automatic: bool) -> History:
        changed = Generation(
            number=generation.number, prepared=prepared, automatic=automatic, time=generation.time
        )
        return History(
            generations=tuple(
                changed if item.number == generation.number else item for item in self.generations
            ),
            active=self.active,
        )


def to_json(history: History, prepared: Mapping[str, Prepared]) -> dict[str, Any]:
    """The written form; every environment stands once, however many generations it had."""
    every = [*(item.prepared for item in history.generations), *prepared.values()]
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
        "prepared": [item.environment for item in prepared.values()],
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


def from_json(data: Mapping[str, Any]) -> tuple[History, dict[str, Prepared]]:
    """Read the written form.

    Raises:
        KeyError, TypeError, ValueError: it is damaged.
    """
    every = {}
    for environment, item in data["environments"].items():
        inode, nanoseconds = item["stamp"]
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
    prepared = [every[environment] for environment in data["prepared"]]
    return history, {item.profile: item for item in prepared}
