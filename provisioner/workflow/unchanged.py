"""Whether a `prepare` has anything to do, told from stats instead of from asking uv."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner import __version__
from provisioner.adapters.environment import is_intact, note_use, python_fault
from provisioner.core.digest import Digest
from provisioner.core.history import of_folder
from provisioner.core.target_json import target_to_json
from provisioner.workflow.marks import caches_are_sound, signature_of
from provisioner.workflow.prepared import Count, PrepareResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.adapters.state import State, StateFolder
    from provisioner.adapters.store import Store
    from provisioner.core.host import Target
    from provisioner.workflow.environments import Recipe
    from provisioner.workflow.job import Job
    from provisioner.workflow.locks import Locked
    from provisioner.workflow.world import Options, Wishes, World


def request_of(
    world: World,
    options: Options,
    wishes: Wishes,
    target: Target,
    paths: tuple[Path, ...],
) -> str:
    """A digest of all that is asked and known before a file of the project is read."""
    host = target_to_json(target)
    facts = {
        "version": __version__,
        "options": [options.profile, options.force, options.python, str(options.gpu_policy)],
        "wishes": [
            *(wishes.only, wishes.every, wishes.fetch_only, wishes.dry_run),
            wishes.seed,
        ],
        "host": [host[name] for name in ("platform", "driver", "gpus", "findings")],
        "python": target.python,
        "paths": [str(path) for path in paths],
        "variables": sorted(
            item
            for item in world.variables.items()
            if item[0].startswith(("UV_", "PIP_")) or item[0] == "XDG_CACHE_HOME"
        ),
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def nothing_to_do(  # noqa: PLR0913 - all that it may depend on
    states: StateFolder,
    store: Store,
    state: State,
    request: str,
    *,
    forced: bool,
    variables: Mapping[str, str],
) -> PrepareResult | None:
    """The answer of the last `prepare`, where nothing that it depends on has changed.

    This is what makes a second `prepare` quick: some stats instead of asking uv.
    """
    last, current = state.last, state.history.current
    if last is None or current is None or last["request"] != request:
        return None
    result = PrepareResult.from_json(last["result"])
    active = current.prepared
    stays = active.profile == result.profile or not (current.automatic or forced)
    if not stays or str(states.linked()) != active.environment:
        return None
    ours = of_folder(state.prepared, active.folder)
    environments = [ours.get(name) for name in (active.profile, *result.prepared)]
    if environments[0] != active or not all(item and is_intact(item) for item in environments):
        return None
    made = [Path(item.environment) for name in result.prepared if (item := ours.get(name))]
    held = (Digest(name) in store for name in last["blobs"])
    there = (store.has_environment(path) and not python_fault(path) for path in made)
    if not (all(there) and all(held)):
        return None
    known = last.get("variables", {})
    same = signatures(last["inputs"]) == last["inputs"] and values_of(known, variables) == known
    if not (same and caches_are_sound(last)):
        return None
    note_use(Path(active.environment))
    return replace(
        result,
        fetched=Count(),
        build_files=0,
        active=active.profile,
        generation=current.number,
        kept=active.profile != result.profile,
        nothing_to_do=True,
        notes=(),
        proof=(),
    )


def input_files(
    job: Job, recipes: Iterable[tuple[Recipe, Locked]], more: Iterable[Path] = ()
) -> Iterable[Path]:
    """Every file that could change what `prepare` does; `more` are filled uvs and links."""
    from provisioner.adapters import pip, uv_settings
    from provisioner.adapters.build_inputs import watched
    from provisioner.adapters.profiles import profile_files, profile_folders
    from provisioner.adapters.projects import workspace_files
    from provisioner.core.requirements import lock_name
    from provisioner.workflow.environments import local_folders
    from provisioner.workflow.local_locks import local_lock_path

    world, place = job.world, job.place
    folders = profile_folders(place.home if place.manifest else None, world.variables, world.home)
    yield from folders
    yield from profile_files(folders)
    yield from uv_settings.settings_files(world.variables, world.home, place.folder)
    yield from pip.config_files(world.variables, world.home)
    # Also of lines that the host cannot run as they are locked now.
    names = (lock_name(candidate.profile.name) for candidate in job.selection.candidates)
    yield from (place.folder / name for name in names)
    yield place.uv_lock
    yield from workspace_files(place)
    for folder in {place.folder, place.home, *place.folder.parents}:
        yield folder / ".python-version"
    for recipe, locked in recipes:
        yield local_lock_path(place.folder, locked.profile.name)
        for folder in (place.home, *local_folders(recipe, locked.contents)):
            yield from watched(folder, world.variables)
    yield job.program
    yield from more
    if job.interpreter.path:
        yield place.home / job.interpreter.path


def named_in_builds(recipes: Iterable[tuple[Recipe, Locked]]) -> frozenset[str]:
    """The variables that go into builds of local folders."""
    from provisioner.adapters.build_inputs import named_variables
    from provisioner.workflow.environments import local_folders

    folders = {
        folder for recipe, locked in recipes for folder in local_folders(recipe, locked.contents)
    }
    return frozenset().union(*map(named_variables, folders))


def values_of(names: Iterable[str], variables: Mapping[str, str]) -> dict[str, str | None]:
    """What tells that variables were changed: of their values nothing but a hash is kept."""
    values = ((name, variables.get(name)) for name in sorted(names))
    return {
        name: None if value is None else hashlib.sha256(value.encode()).hexdigest()
        for name, value in values
    }


def signatures(paths: Iterable[Path | str]) -> dict[str, list[int] | None]:
    """What tells that files were replaced or written."""
    return {str(path): signature_of(path) for path in paths}
