"""Make environments, keep them, and make them again where something changed them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioner.adapters import environment
from provisioner.core.history import Prepared
from provisioner.errors import LockError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.adapters.store import Store
    from provisioner.adapters.uv import Uv
    from provisioner.workflow.workshop import Workshop
    from provisioner.workflow.world import World


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What it takes to make an environment: a lock, what is turned on, and a Python.

    `lock` is `uv.lock`, which uv reads in the project, or a PEP 751 lock; `lock_hash` is
    that of its bytes. `editable` is the project to put into an environment of the second
    kind.
    """

    folder: str
    lock: str
    lock_hash: str
    by_uv: bool
    extras: tuple[str, ...]
    groups: tuple[str, ...]
    python: str
    editable: str | None

    def to_json(self) -> dict[str, Any]:
        """The written form."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """Read the written form."""
        lists = {name: tuple(data[name]) for name in ("extras", "groups")}
        return cls(**{**data, **lists})


def file_hash(path: Path) -> str:
    """The SHA-256 of a small file; empty where there is none."""
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def inputs_of(
    recipe: Recipe, lock_text: str, python_version: str, folders: tuple[Path, ...]
) -> str:
    """A digest of everything that an environment is made from.

    Of `uv.lock` only what concerns the profile counts; of folders that are installed as they
    are, the files that say how.
    """
    import hashlib
    import json

    facts = recipe.to_json() | {"lock_hash": None, "text": lock_text, "version": python_version}
    facts["folders"] = [
        [str(folder), *(file_hash(folder / name) for name in BUILD_FILES)] for folder in folders
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


BUILD_FILES = ("pyproject.toml", "setup.py", "setup.cfg")


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """An environment to be made: for which profile, how, and from which inputs."""

    profile: str
    recipe: Recipe
    inputs: str


def make(world: World, store: Store, uv: Uv, order: Order) -> Prepared:
    """Make an environment in the store; it is there whole, or not at all.

    Raises:
        ToolError: uv fails.
        SpaceError: the store is full.
    """
    from provisioner.adapters.uv import Turned

    recipe = order.recipe
    path = store.new_environment(f"{Path(recipe.folder).name}-{order.profile}")
    try:
        python = Path(recipe.python)
        if recipe.by_uv:
            uv.sync_project(Turned(extras=recipe.extras, groups=recipe.groups), path, python)
        else:
            editable = Path(recipe.editable) if recipe.editable else None
            uv.sync_lock(Path(recipe.lock), path, python, editable=editable)
        stamp = environment.finish(
            path, {"project": recipe.folder, "profile": order.profile, "made": int(world.now())}
        )
    except BaseException:
        environment.discard(path)
        raise
    return Prepared(
        profile=order.profile,
        environment=str(path),
        stamp=stamp,
        inputs=order.inputs,
        recipe=recipe.to_json(),
    )


def renew(world: World, workshop: Workshop, prepared: Prepared) -> Prepared:
    """Make an environment again from the inputs that it was made from.

    Raises:
        LockError: its lock is another one now.
    """
    recipe = Recipe.from_json(prepared.recipe)
    lock = Path(recipe.lock)
    if file_hash(lock) != recipe.lock_hash:
        message = f"the environment of `{prepared.profile}` was changed and cannot be renewed"
        raise LockError(
            message,
            causes=(f"it was made from another `{lock.name}`",),
            hint="`gpuenv prepare` makes a new one",
            code="lock-changed",
        )
    order = Order(profile=prepared.profile, recipe=recipe, inputs=prepared.inputs)
    with workshop.building() as uv:
        return make(world, workshop.store, uv, order)
