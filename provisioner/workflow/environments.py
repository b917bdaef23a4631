"""Make environments, keep them, and make them again where something changed them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters import environment
from provisioner.adapters.build_inputs import BUILD_FILES, build_inputs
from provisioner.core.history import Prepared
from provisioner.errors import LockError
from provisioner.workflow.built_wheels import keep_built, sources_of
from provisioner.workflow.place import link_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.adapters.store import Store
    from provisioner.adapters.uv import Uv
    from provisioner.core.digest import Digest
    from provisioner.core.interpreter import Interpreter
    from provisioner.core.plan import LockedFile, LockedSet
    from provisioner.workflow.workshop import Workshop
    from provisioner.workflow.world import World


_LISTS: Final = ("lock_stamp", "extras", "groups", "without")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What it takes to make an environment: a lock, what is turned on, and a Python.

    `lock` is `uv.lock`, which uv reads in the project, or a PEP 751 lock; `lock_hash` is
    that of its bytes, and `lock_stamp` tells that it was touched. `editable` is the project
    to put into an environment of the second kind. `seed` are name and SHA-256 of each wheel that
    an environment has beside those of the lock.
    """

    folder: str
    lock: str
    lock_hash: str
    lock_stamp: tuple[int, ...]
    by_uv: bool
    extras: tuple[str, ...]
    groups: tuple[str, ...]
    without: tuple[str, ...]
    python: str
    editable: str | None
    seed: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The written form."""
        data = {name: getattr(self, name) for name in self.__slots__}
        lists = {name: list(data[name]) for name in _LISTS}
        return {**data, **lists, "seed": [list(item) for item in self.seed]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """Read the written form."""
        lists = {name: tuple(data[name]) for name in _LISTS}
        seed = tuple((name, digest) for name, digest in data.get("seed", ()))
        return cls(**{**data, **lists, "seed": seed})


def order_from(  # noqa: PLR0913 - everything that goes into an environment
    profile: str,
    recipe: Recipe,
    text: str,
    contents: LockedSet,
    interpreter: Interpreter,
    *,
    variables: Mapping[str, str],
) -> Order:
    """What is to be made from a lock, with a digest of everything that goes into it.

    Of `uv.lock` only what concerns the profile counts; of folders that are installed as they
    are, the files that say how, and what uv looks at to tell that they changed.
    """
    import hashlib
    import json

    facts = recipe.to_json() | {"text": text, "version": interpreter.version}
    facts["build"] = interpreter.build
    del facts["lock_hash"], facts["lock_stamp"]
    if not recipe.seed:
        del facts["seed"]  # As it was before there were any.
    facts["folders"] = [
        [
            str(folder),
            *(environment.file_hash(folder / name) for name in BUILD_FILES),
            *build_inputs(folder, variables),
        ]
        for folder in local_folders(recipe, contents)
    ]
    inputs = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return Order(
        profile=profile,
        recipe=recipe,
        inputs=inputs,
        files=contents.files,
        sources=sources_of(contents),
    )


def local_folders(recipe: Recipe, contents: LockedSet) -> tuple[Path, ...]:
    """The project and every folder that is installed as it is."""
    # uv tells paths from the folder that it was run in, also where the lock is a workspace's.
    others = (Path(os.path.normpath(Path(recipe.folder, path))) for path in contents.folders)
    return tuple(dict.fromkeys((Path(recipe.folder), *others)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """An environment to be made: for which profile, how, and from which inputs and files.

    `sources` are those of the files that are built.
    """

    profile: str
    recipe: Recipe
    inputs: str
    files: tuple[LockedFile, ...] = ()
    sources: tuple[LockedFile, ...] = ()


def refuse_unwritable(
    store: Store, orders: Iterable[Order], missing: Iterable[LockedFile] = ()
) -> None:
    """Refuse to make environments, and to fetch files, in a store that cannot be written to.

    Raises:
        GpuenvError: it cannot, and there are some to be made.
    """
    store.require_writable(
        (
            *(f"`{file.name}` would have to be fetched into it" for file in missing),
            *(
                f"the environment of `{order.profile}` would have to be made in it"
                for order in orders
            ),
        )
    )


def install(uv: Uv, recipe: Recipe, path: Path) -> None:
    """Let uv make an environment, or bring one to what a recipe says.

    Raises:
        ToolError: uv fails.
    """
    from provisioner.adapters.uv import Turned

    python = Path(recipe.python)
    if recipe.by_uv:
        uv.sync_project(Turned(recipe.extras, recipe.groups, recipe.without), path, python)
    else:
        editable = Path(recipe.editable) if recipe.editable else None
        uv.sync_lock(Path(recipe.lock), path, python, editable=editable)


def make(world: World, workshop: Workshop, uv: Uv, order: Order) -> Prepared:
    """Make an environment in the store; it is there whole, or not at all.

    What it shares with uv's cache cannot be written to from here on.

    Raises:
        ToolError: uv fails.
        IntegrityError: what uv installs is not what the packages' own lists tell.
        SpaceError: the store is full.
    """
    from provisioner.adapters._whereabouts import site_of
    from provisioner.core.digest import Digest
    from provisioner.workflow.protection import install_protected

    recipe = order.recipe
    path = workshop.store.new_environment(f"{Path(recipe.folder).name}-{order.profile}")
    try:
        otherwise = install_protected(world, workshop, uv, order, path)
        built = keep_built(world, workshop, path, order.sources)
        seeds = (Digest(digest) for _, digest in recipe.seed)
        needed = {*_needed(workshop, order), *(wheel.digest for wheel in built), *seeds}
        stamp = environment.finish(
            path,
            {
                "project": recipe.folder,
                "profile": order.profile,
                "made": int(world.now()),
                "site": site_of(Path(recipe.folder)).to_json(),
                "links": workshop.link_mode,
                "python": environment.python_stamp(path),
                "otherwise": otherwise,
                "blobs": sorted(digest.hex for digest in needed),
                "built": [wheel.to_json() for wheel in built],
            },
            link_of(Path(recipe.folder)),
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


def _needed(workshop: Workshop, order: Order) -> frozenset[Digest]:
    """The blobs that an environment was made from, and those that it was built with.

    uv builds a source distribution once for all projects, so that what that took is noted
    with the source distribution too. One that uv did not ask for it had built before, and
    where it took nothing its cache may have had that: then nobody knows.
    """
    pull = workshop.pull
    tools = pull.build_tools
    if tools:
        sources = (file.digest for file in order.files if not file.name.endswith(".whl"))
        pull.ledger.built_with(filter(pull.has_served, sources), tools)
    return frozenset({*(file.digest for file in order.files), *tools})


def renew(world: World, workshop: Workshop, prepared: Prepared, *, same: bool) -> Prepared:
    """Make an environment again, from what the store and uv's cache have.

    The lock as it is now decides; `same` insists on the inputs that it was made from.

    Raises:
        LockError: the lock is stale, or another one where the same is needed.
        NetworkError: something is missing that would have to be fetched.
    """
    from provisioner.adapters.machine import this_platform
    from provisioner.adapters.uv import Turned
    from provisioner.core.plan import read_lock
    from provisioner.core.tags import wheel_tags
    from provisioner.workflow.stubs import StubReader

    old = Recipe.from_json(prepared.recipe)
    lock = Path(old.lock)
    turned = Turned(old.extras, old.groups, old.without)
    text = workshop.export(turned, lock) if old.by_uv else lock.read_text(encoding="utf-8")
    interpreter = workshop.offline.describe_python(Path(old.python))
    read = read_lock(text, interpreter, this_platform(), str(lock))
    tags = wheel_tags(interpreter, this_platform())
    (contents,) = StubReader(world, workshop.pull, keeps=False).with_wheels([read], tags)
    recipe = replace(
        old,
        lock_hash=environment.file_hash(lock),
        lock_stamp=tuple(environment.lock_stamp(lock)),
    )
    order = order_from(
        prepared.profile, recipe, text, contents, interpreter, variables=world.variables
    )
    if same and order.inputs != prepared.inputs:
        what = "was changed" if Path(prepared.environment).is_dir() else "is gone"
        message = f"the environment of `{prepared.profile}` {what} and cannot be renewed"
        raise LockError(
            message,
            causes=(f"it was made from another `{lock.name}`, Python or project",),
            hint="`gpuenv prepare` makes a new one",
            code="lock-changed",
        )
    workshop.pull.know(contents.known)
    refuse_unwritable(workshop.store, [order])
    with workshop.building() as uv:
        return make(world, workshop, uv, order)
