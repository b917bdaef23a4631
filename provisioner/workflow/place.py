"""Where a command works: the project's folder, its state, and the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.adapters._files import lock_fault, unless_read_only
from provisioner.adapters.projects import Place, find_folder, find_home, read_place
from provisioner.adapters.state import StateFolder

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.adapters.store import Store
    from provisioner.workflow.world import Options, World


def folder_of(world: World, options: Options) -> tuple[Path, bool]:
    """The folder that is meant, and whether it has a project.

    Raises:
        UsageError: the user named something that is no folder.
    """
    start = options.project or world.folder
    return find_folder(start, named=options.project is not None)


def place_of(world: World, options: Options) -> Place:
    """The project that is meant, its `pyproject.toml` read.

    Raises:
        GpuenvError: a `pyproject.toml` is not valid.
    """
    folder, is_project = folder_of(world, options)
    return read_place(folder, is_project=is_project)


def state_of(world: World, options: Options) -> StateFolder:
    """The state of the project that is meant; its files are read only where they have to be."""
    folder, is_project = folder_of(world, options)
    return StateFolder(find_home(folder, is_project=is_project))


def link_of(folder: Path) -> Path:
    """The `.venv` of a project: that of its workspace."""
    is_project = (folder / "pyproject.toml").is_file()
    return StateFolder(find_home(folder, is_project=is_project)).link


def store_of(world: World, options: Options) -> Store:
    """The store that is meant, over the stores below it; it need not be there yet.

    Lower stores that cannot be used are told once, and done without.
    """
    from provisioner.adapters.store import Store, default_root, lower_roots

    root = options.store or default_root(world.variables, world.home)
    lower, faults = lower_roots(world.variables, root)
    for fault in faults:
        world.note_once(fault)
    return Store(root, lower)


def tell_of_absence(world: World, store: Store) -> None:
    """Say that there is no store, where nothing is told of one."""
    if not store.is_there:
        world.progress.note(store.absence)


def tell_of_locks(world: World, *folders: Path) -> None:
    """Say once of each file system that locks do not work there.

    Where nothing can be written to, nothing is locked.
    """
    faults: dict[str | None, None] = {}
    for folder in folders:
        with unless_read_only():
            faults[lock_fault(folder)] = None
    for fault in faults:
        if fault:
            world.progress.note(
                f"{fault}: files take their place, and one that another machine left in a crash "
                "is waited for two minutes"
            )
