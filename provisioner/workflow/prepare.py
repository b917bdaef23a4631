"""The main job: choose, lock, fetch, build, activate."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters.environment import (
    discard,
    drift_of,
    file_hash,
    is_intact,
    is_ours,
    lock_stamp,
    python_fault,
)
from provisioner.adapters.leases import Leases
from provisioner.adapters.roots import Roots
from provisioner.adapters.state import State, StateFolder
from provisioner.adapters.uv import find_uv
from provisioner.core.history import of_folder, with_prepared
from provisioner.core.target_json import target_to_json
from provisioner.core.version import is_version
from provisioner.errors import GpuenvError
from provisioner.workflow.detect import HERE, counts, detect, named_target
from provisioner.workflow.marks import marks_of
from provisioner.workflow.place import (
    folder_of,
    place_of,
    state_of,
    store_of,
    tell_of_locks,
)
from provisioner.workflow.prepared import Count, PreparedTargets, PrepareResult
from provisioner.workflow.unchanged import (
    input_files,
    named_in_builds,
    nothing_to_do,
    request_of,
    signatures,
    values_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.adapters.store import Store
    from provisioner.core.history import History, Prepared
    from provisioner.core.host import Target
    from provisioner.core.plan import FetchPlan, LockedFile, Substitution
    from provisioner.core.room import Room
    from provisioner.workflow.environments import Order, Recipe
    from provisioner.workflow.job import Job
    from provisioner.workflow.locks import Locked
    from provisioner.workflow.seeding import Seeds
    from provisioner.workflow.workshop import Workshop
    from provisioner.workflow.world import Options, Wishes, World

_WAIT_SECONDS: Final = 3600.0
_NEXT: Final = (
    "provisioner.workflow.workshop",
    "provisioner.workflow.making",
    "provisioner.workflow.local_locks",
    "provisioner.workflow.filling",
    "provisioner.workflow.room",
)


def prepare(world: World, options: Options, wishes: Wishes) -> PrepareResult:
    """Get the right environment, and every other one that the host can run.

    Raises:
        GpuenvError: see the error tree; the store and `.venv` are then as they were.
    """
    folder, _ = folder_of(world, options)
    states = state_of(world, options)
    store = store_of(world, options)
    state = states.read()
    target = detect(world, options, remembered=state.target)
    if wishes.seed is None:
        wishes = replace(wishes, seed=state.seed is not None)
    paths = (folder, store.root, find_uv(world.variables))
    request = request_of(world, options, wishes, target, paths)
    shown = state.target if counts(world, options, state.target) else None
    uvs: dict[Path, str] = {}
    if wishes.uvs:
        from provisioner.workflow.filling import named_uvs

        uvs = named_uvs(world, folder, wishes.uvs)
        wishes = replace(wishes, uvs=tuple(uvs))
    is_same = _remembered(world, options, target, state, wishes) == state.target
    if is_same and not wishes.proof and _are_filled(state, uvs):
        done = nothing_to_do(
            states,
            store,
            state,
            request,
            forced=options.profile is not None,
            variables=world.variables,
        )
        if done:
            return replace(done, target=shown)
    from provisioner.workflow.pythons import begin_search

    place = place_of(world, options)
    search = begin_search(world, place, target, find_uv(world.variables))
    _load_ahead()
    from provisioner.workflow.own_server import past_own_server

    world = past_own_server(world, store, place, offline=options.offline)
    states = StateFolder(place.home)
    if not (wishes.adopt or wishes.fetch_only or wishes.dry_run):
        states.check_link(is_ours, state.history)
    from provisioner.workflow.job import plan_job
    from provisioner.workflow.leftovers import remove_leftovers

    job = plan_job(world, options, place, target, wishes, search)
    if wishes.dry_run:
        return replace(_run(job, store, states, request), target=shown)
    with states.hold(
        wait_seconds=_WAIT_SECONDS,
        waiting=lambda holder: world.progress.note(f"waiting for {holder}"),
    ):
        if not (wishes.adopt or wishes.fetch_only):
            # Again, since whoever held the project may have taken long.
            states.check_link(is_ours, states.read().history)
        if place.home != place.folder:
            states.lead_from(place.folder)
        store.open()
        tell_of_locks(world, place.home / ".gpuenv", store.root)
        with Leases(store.root).working():
            remove_leftovers(world, store)
            return replace(_run(job, store, states, request), target=shown)


def _load_ahead() -> None:
    """Load what comes next while uv looks for a Python: that takes about as long.

    What cannot be loaded is told by whoever needs it.
    """
    import importlib
    import threading

    def load() -> None:
        with suppress(Exception):
            for name in _NEXT:
                importlib.import_module(name)

    threading.Thread(target=load, daemon=True).start()


def prepare_for_targets(world: World, options: Options, wishes: Wishes) -> PreparedTargets:
    """Fetch what each of several targets needs: one store for a mixed fleet.

    No environment is made and none of the targets is remembered, since they are other
    machines. Every target is chosen for before anything is fetched.

    Raises:
        SelectionError: nothing fits one of them.
    """
    from provisioner.core.select import refuse_gaps
    from provisioner.workflow.profiles import choose_for_targets

    each = {name: replace(options, target=name, targets=()) for name in options.targets}
    for _, chosen in choose_for_targets(world, options).targets:
        if not options.force:
            refuse_gaps(chosen.selection)
    targets = {name: detect(world, one) for name, one in each.items()}
    wishes = replace(wishes, fetch_only=True, remember=False)

    def done(name: str) -> PrepareResult:
        also = tuple(target for other, target in targets.items() if other != name)
        return prepare(world, each[name], replace(wishes, also=also))

    return PreparedTargets(targets=tuple((name, done(name)) for name in each))


def _run(job: Job, store: Store, states: StateFolder, request: str) -> PrepareResult:
    from provisioner.core.plan import plan_fetch
    from provisioner.core.room import refuse_shortage
    from provisioner.workflow.environments import refuse_unwritable
    from provisioner.workflow.filling import look_after
    from provisioner.workflow.local_locks import write_local_locks
    from provisioner.workflow.room import look_for_room
    from provisioner.workflow.workshop import open_workshop

    before = states.read()
    state = replace(
        before, target=_remembered(job.world, job.options, job.target, before, job.wishes)
    )
    if state != before and not job.wishes.dry_run:
        # Now, so that a run that breaks off is gone on with for the same target.
        states.write(state)
    with open_workshop(
        job.world,
        store,
        job.place,
        python=job.interpreter.path,
        indexes=job.indexes,
        offline=job.options.offline,
    ) as workshop:
        job, locks, written, stubs = lock_job(job, workshop)
        seeds, state = _seeds(job, workshop, states, state)
        files = (*(file for one in locks for file in one.contents.files), *seeds.files)
        plan = plan_fetch(files, store if job.wishes.dry_run else workshop.pull.ledger)
        ready, orders, drifted = _orders(job, store, state, locks, seeds)
        room = look_for_room(workshop, plan, orders, exactly=job.wishes.dry_run)
        if job.wishes.dry_run:
            told = _with_room(_result(job, workshop, plan, stubs, seeds), store, plan, room)
            try:
                refuse_shortage(room, str(store.root))
                refuse_unwritable(store, orders, plan.missing)
            except GpuenvError as error:
                # It ends as `prepare` would, and tells all the same.
                error.data = told.to_json()
                raise
            return told

        def register(tools: tuple[LockedFile, ...] = ()) -> None:
            every = (*files, *tools)
            Roots(store.root).register(states.home, purpose_of(job), every, job.world.now())

        # Before anything comes: it is this project's, also where this run breaks off.
        register()
        workshop.pull.on_build_tools = register
        refuse_shortage(room, str(store.root))
        workshop.pull.know(file for locked in locks for file in locked.contents.known)
        if job.wishes.fetch_only or job.not_here:
            notes = (*written, *_fetch_only(job, workshop, locks, plan, ready))
            return replace(_result(job, workshop, plan, stubs, seeds), notes=notes)
        for root in sorted({path.parent.parent for path in _elsewhere(job, store, state)}):
            job.world.progress.note(f"environments in the store `{root}` are not used for this one")
        made, is_known = _build(job, workshop, orders, locks, plan)
        prepared = ready | made
        if made:
            # Now, so that a run that breaks off while uvs are filled and tried keeps them.
            known = with_prepared(state.prepared, prepared.values())
            states.write(replace(state, prepared=known, last=None))
        local = write_local_locks(job, workshop, locks, prepared)
        upkeep = look_after(job, workshop, locks, before, made)
        history = _activate(job, state.history, prepared)
        result = _with_active(_result(job, workshop, plan, stubs, seeds), states, history, prepared)
    states.write(
        State(
            history=history,
            prepared=with_prepared(state.prepared, prepared.values()),
            target=state.target,
            seed=state.seed,
            filled=tuple(one.to_json() for one in upkeep.filled),
            last={
                # What is not known yet, or was not filled for once, is tried again.
                "request": request if is_known and upkeep.is_settled else "",
                **_seen(
                    job,
                    [(_recipe(job, locked, seeds), locked) for locked in locks],
                    [*(Path(one.program) for one in upkeep.filled), *local.links],
                ),
                "caches": marks_of(
                    dict.fromkeys(one.cache for one in upkeep.filled if one.ok),
                    (one.environment for one in prepared.values()),
                ),
                "blobs": [
                    *(file.digest.hex for file in (*plan.missing, *plan.held)),
                    *sorted(digest.hex for digest in local.built),
                ],
                "result": replace(
                    result, reused=_count(store, (*plan.missing, *plan.held))
                ).to_json(),
            },
        )
    )
    moved = _flip(job, states, history)
    result = replace(
        result,
        notes=(*written, *_unread(job), *drifted, *local.notes, *moved, *upkeep.notes),
        proof=upkeep.proofs,
    )
    if job.wishes.proof:
        _refuse_unproved(result)
    return result


def _seeds(job: Job, workshop: Workshop, states: StateFolder, state: State) -> tuple[Seeds, State]:
    """What each environment gets beside what its lock names, and the state that remembers it.

    It is there before anything is made of it.
    """
    from provisioner.workflow.seeding import choose_seeds, fetch_seeds

    seeds = choose_seeds(job, workshop, state.seed or job.wishes.seed_lock)
    remembered = replace(state, seed=seeds.lock if job.wishes.remember else state.seed)
    if remembered != state and not job.wishes.dry_run:
        states.write(remembered)
    if not job.wishes.dry_run:
        fetch_seeds(workshop, seeds)
    return seeds, remembered


def _seen(
    job: Job, recipes: list[tuple[Recipe, Locked]], more: Iterable[Path]
) -> dict[str, dict[str, Any]]:
    """What tells that files and variables that were read have changed."""
    return {
        "inputs": signatures(input_files(job, recipes, more)),
        "variables": values_of(named_in_builds(recipes), job.world.variables),
    }


def _fetch_only(
    job: Job,
    workshop: Workshop,
    locks: tuple[Locked, ...],
    plan: FetchPlan,
    ready: Mapping[str, Prepared],
) -> tuple[str, ...]:
    """Fetch, and make no environment beside those that are `ready`; what is to be said of it."""
    from provisioner.workflow.local_locks import write_local_locks

    workshop.pull.fetch(plan)
    if job.not_here:
        return (job.not_here,)  # The local locks are this machine's.
    return write_local_locks(job, workshop, locks, ready).notes


def _unread(job: Job) -> tuple[str, ...]:
    """What a project has for other tools alone, which one could miss in its environment."""
    return job.place.manifest.elsewhere.notes if job.place.manifest else ()


def _flip(job: Job, states: StateFolder, history: History) -> tuple[str, ...]:
    """Let `.venv` lead to what is active; what is to be said of it."""
    aside = None
    if job.wishes.adopt and states.is_foreign(is_ours, history):
        aside = states.move_aside()
    if history.current:
        states.flip(job.place.home / history.current.prepared.environment)
    return (f"moved the old `.venv` to `{aside}`",) if aside else ()


def _refuse_unproved(result: PrepareResult) -> None:
    """Raise where a client that was tried has failed."""
    failed = [proof for proof in result.proof if proof.ok is False]
    if failed:
        message = "a client cannot toggle with the network cut off"
        wants = any(proof.wanted for proof in failed)
        raise GpuenvError(
            message,
            causes=tuple(f"{one.name}: {cause}" for one in failed for cause in one.causes()),
            hint="the environments are there"
            + ("; what is asked for would be fetched once more" if wants else ""),
            code="proof-failed",
            data=result.to_json(),
        )


def lock_job(
    job: Job, workshop: Workshop
) -> tuple[Job, tuple[Locked, ...], tuple[str, ...], tuple[Substitution, ...]]:
    """The locks, the job as they decide it, notes on those that were written, and stubs.

    What a lock has says which profiles the host can run, so that after one is made it is
    chosen anew, until every lock was there before.

    Raises:
        SelectionError: the chosen profile would install what the host cannot run.
    """
    from provisioner.core.select import refuse_gaps
    from provisioner.workflow.job import again
    from provisioner.workflow.locks import make_locks, make_uv_lock, stand_ins, with_wheels

    written: list[str] = []
    replaced: list[Substitution] = []
    if make_uv_lock(job, workshop):
        written.append(job.place.uv_lock.name)
        job = again(job)
    while True:
        if not job.options.force:
            refuse_gaps(job.selection)
        locks = make_locks(job, workshop)
        new = [locked.path.name for locked in locks if locked.written]
        if not new:
            notes = (f"wrote `{name}`, to be committed" for name in dict.fromkeys(written))
            locks = with_wheels(job, workshop, locks, keeps=not job.wishes.dry_run)
            return job, locks, tuple(notes), (*stand_ins(locks), *replaced)
        replaced += stand_ins(locks)
        written += new
        job = again(job)


def _build(
    job: Job, workshop: Workshop, orders: list[Order], locks: tuple[Locked, ...], plan: FetchPlan
) -> tuple[dict[str, Prepared], bool]:
    """A new environment for each order, by profile.

    What is missing is fetched meanwhile, in the order in which the environments are made,
    and is there afterwards. Also whether it is known what it takes to build everything.
    """
    from provisioner.core.plan import in_turns
    from provisioner.workflow.build_needs import learn_builds
    from provisioner.workflow.environments import refuse_unwritable
    from provisioner.workflow.locks import stand_ins
    from provisioner.workflow.making import make_all
    from provisioner.workflow.stubs import note_wheels

    made: tuple[Prepared, ...] = ()
    try:
        plan = in_turns(plan, [order.files for order in orders])
        with workshop.pull.fetching(plan):
            refuse_unwritable(workshop.store, orders)
            made = make_all(job.world, workshop, orders)
        files = (file for locked in locks for file in locked.contents.files)
        is_known = learn_builds(job.world, workshop, job.interpreter.path or "", files)
        note_wheels(workshop.pull, stand_ins(locks))
    except BaseException as error:
        for item in made:
            discard(job.place.home / item.environment)
        from provisioner.adapters.uv import is_of_uv

        if is_of_uv(error):
            workshop.pull.blame_blobs(file for one in locks for file in one.contents.files)
        raise
    return {item.profile: item for item in made}, is_known


def _are_filled(state: State, uvs: Mapping[Path, str]) -> bool:
    """Whether the caches of uvs of these versions were filled, and `--uv` had named them."""
    known = (one for one in state.filled if one["ok"] and one.get("named", True))
    filled = {(one["program"], one["version"]) for one in known}
    return {(str(path), version) for path, version in uvs.items()} <= filled


def _elsewhere(job: Job, store: Store, state: State) -> list[Path]:
    """The environments of the project at hand that lie in another store."""
    known = of_folder(state.prepared, str(job.place.folder)).values()
    paths = [job.place.home / item.environment for item in known]
    return [path for path in paths if not store.has_environment(path)]


def _orders(
    job: Job, store: Store, state: State, locks: tuple[Locked, ...], seeds: Seeds
) -> tuple[dict[str, Prepared], list[Order], tuple[str, ...]]:
    """The environments that are there in the store, those that are to be made, and what is said.

    One that was changed is made anew, unless the user keeps it.
    """
    from provisioner.workflow.environments import order_from

    if job.not_here:
        return {}, [], ()
    known = [*state.prepared, *(item.prepared for item in state.history.generations)]
    known = [i for i in known if store.has_environment(job.place.home / i.environment)]
    ready: dict[str, Prepared] = {}
    orders = []
    notes = []
    for locked in locks:
        name, recipe = locked.profile.name, _recipe(job, locked, seeds)
        order = order_from(
            *(name, recipe, locked.text, locked.contents, job.interpreter),
            variables=job.world.variables,
        )
        same = [i for i in known if (i.profile, i.inputs) == (name, order.inputs)]
        fine = (i for i in same if is_intact(i) and not python_fault(Path(i.environment)))
        found = next(fine, None)
        if same and not found:
            drift = f"the environment of `{name}` {drift_of(same[0])}"
            if job.wishes.keep and not python_fault(Path(same[0].environment)):
                found = same[0]
                notes.append(f"{drift}; it is taken as it is")
            elif not job.wishes.fetch_only:
                notes.append(f"{drift}; it is made again")
        if found:
            # The same inputs may come from another state of the whole lock.
            ready[name] = replace(found, recipe=recipe.to_json())
        else:
            orders.append(order)
    return ready, [] if job.wishes.fetch_only else orders, tuple(notes)


def purpose_of(job: Job) -> str:
    """What files are asked for: the environments of a folder, or to be held for a target.

    A target is known by its name, so that another driver here, or a file with other facts,
    takes the place of what was asked for before.
    """
    if not (job.wishes.fetch_only or job.not_here):
        return str(job.place.folder)
    import hashlib
    import json

    target = named_target(job.world, job.options)
    named = json.dumps([str(job.place.folder), target, job.options.python])
    return hashlib.sha256(named.encode()).hexdigest()


def _recipe(job: Job, locked: Locked, seeds: Seeds) -> Recipe:
    from provisioner.workflow.environments import Recipe

    manifest = job.place.manifest
    editable = not locked.by_uv and manifest is not None and manifest.is_package
    return Recipe(
        folder=str(job.place.folder),
        lock=str(locked.path),
        lock_hash=file_hash(locked.path),
        lock_stamp=tuple(lock_stamp(locked.path)),
        by_uv=locked.by_uv,
        extras=locked.candidate.extras,
        groups=locked.candidate.groups,
        without=locked.candidate.without,
        python=job.interpreter.path or "",
        editable=str(job.place.folder) if editable else None,
        seed=seeds.recipe,
    )


def _activate(job: Job, history: History, prepared: dict[str, Prepared]) -> History:
    """The history with the choice active, or with what the user has switched to."""
    last = history.last_of(str(job.place.folder))
    choice = job.selection.chosen.profile.name
    keeps = last is not None and not last.automatic and job.options.profile is None
    name = last.prepared.profile if last and keeps else choice
    if name not in prepared:
        return history
    automatic = job.options.profile is None and not keeps
    return history.activate(prepared[name], automatic=automatic, now=int(job.world.now()))


def _with_room(
    result: PrepareResult, store: Store, plan: FetchPlan, room: Iterable[Room]
) -> PrepareResult:
    from provisioner.workflow.room import sizes_to_fetch

    sizes = sizes_to_fetch(store, plan)
    return replace(
        result,
        missing=tuple((name, size) for name, size, _ in sizes),
        arrived=sum(arrived for *_, arrived in sizes),
        free_bytes=store.free_bytes(),
        room=tuple(one.to_json() for one in room),
        short=tuple(cause for one in room for cause in one.shortages()),
    )


def _with_active(
    result: PrepareResult, states: StateFolder, history: History, prepared: dict[str, Prepared]
) -> PrepareResult:
    from provisioner.adapters.inventory import read_mark

    active = history.current
    environment = prepared[result.profile].environment
    mark = read_mark(Path(environment))
    return replace(
        result,
        environment=environment,
        link_mode=mark.links if mark else None,
        active=active.prepared.profile if active else None,
        generation=active.number if active else None,
        link=str(states.link),
        kept=active is not None and active.prepared.profile != result.profile,
    )


def _result(
    job: Job,
    workshop: Workshop,
    plan: FetchPlan,
    stubs: tuple[Substitution, ...],
    seeds: Seeds,
) -> PrepareResult:
    from provisioner.core.select import explain, is_for_others
    from provisioner.workflow.stubs import told

    chosen = job.selection.chosen
    # Making the lock may have fetched some of what the plan then found held, and another
    # process some of what it found missing.
    fetched = workshop.pull.fetched
    every = plan.held if job.wishes.dry_run else (*plan.held, *plan.missing)
    reused = [file for file in every if file.digest not in fetched]
    return PrepareResult(
        profile=chosen.profile.name,
        why=explain(chosen, job.target.host, job.facts, forced=job.options.profile is not None),
        extras=(*chosen.extras, *chosen.groups),
        prepared=tuple(candidate.profile.name for candidate in job.candidates),
        rejected=tuple(
            reason.message
            for candidate in job.selection.candidates
            if candidate is not chosen and not is_for_others(candidate)
            for reason in candidate.reasons
        ),
        warnings=(
            *(warning.message for warning in job.selection.warnings),
            *(
                f"`{candidate.profile.name}` is not prepared: {gap.message}"
                for candidate in job.selection.usable
                if candidate not in job.candidates
                for gap in candidate.gaps
            ),
        ),
        fetched=Count(files=len(fetched), bytes=sum(fetched.values())),
        build_files=len(workshop.pull.build_tools & fetched.keys()),
        reused=_count(workshop.store, reused),
        store=str(workshop.store.root),
        environment=None,
        active=None,
        generation=None,
        substitutions=told(stubs),
        seed=tuple(file.name for file in seeds.files),
    )


def _count(store: Store, files: Iterable[LockedFile]) -> Count:
    """Held files, by their real sizes: not every index tells sizes."""
    sizes = [store.size(file.digest) for file in files]
    return Count(files=len(sizes), bytes=sum(sizes))


def _remembered(
    world: World, options: Options, target: Target, state: State, wishes: Wishes
) -> dict[str, Any] | None:
    """The target to remember: one that was named, or the one that is remembered already."""
    named = named_target(world, options)
    if named is None or not wishes.remember:
        return state.target
    if named == HERE:
        return None
    # A `--python` of this run alone is no part of the target, unless it names a version.
    known = target.python if target.python and is_version(target.python) else None
    return target_to_json(replace(target, python=known))
