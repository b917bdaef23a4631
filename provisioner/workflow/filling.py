"""Keep the caches of the user's uvs filled: what they need for every profile, from the store."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioner.adapters import uv_settings
from provisioner.adapters.uv import OLDEST_FILLED, Uv
from provisioner.core.version import is_before
from provisioner.errors import GpuenvError, ToolError, UsageError
from provisioner.workflow.marks import caches_are_sound, signature_of
from provisioner.workflow.proof import Program, prove_others, prove_uv, scratch, sync_each

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.adapters.state import State
    from provisioner.core.proofs import Proof
    from provisioner.workflow.job import Job
    from provisioner.workflow.locks import Locked
    from provisioner.workflow.workshop import Workshop
    from provisioner.workflow.world import World


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """A uv whose cache has what some profiles of a project need.

    Only one that was `named` (by `--uv`) is remembered; the others are the first on PATH.
    `signature` tells that another program lies at the path now, `version` that one does
    behind a shim; `ok` is whether it was filled, and the last proof, if any, was right.
    """

    program: str
    version: str
    signature: list[int] | None
    cache: str
    profiles: tuple[str, ...]
    ok: bool = True
    named: bool = True

    def to_json(self) -> dict[str, Any]:
        """The written form."""
        data = {name: getattr(self, name) for name in self.__slots__}
        return {**data, "profiles": list(self.profiles)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Filled:
        """Read the written form."""
        return cls(**{**data, "profiles": tuple(data["profiles"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class Upkeep:
    """What was filled, what was tried, and what is to be said of it.

    `is_settled`: what could not be filled could not be the last time either, so that a
    `prepare` with nothing else to do does not try again.
    """

    filled: tuple[Filled, ...]
    is_settled: bool
    proofs: tuple[Proof, ...] = ()
    notes: tuple[str, ...] = ()


def named_uvs(world: World, folder: Path, uvs: Iterable[str | Path]) -> dict[Path, str]:
    """The uvs of `--uv`, each with the version that it says it is.

    One without a separator is looked for on PATH, as shells do.

    Raises:
        UsageError: one is no uv, or too old.
    """
    found = {}
    faults = []
    old = []
    for name in dict.fromkeys(map(str, uvs)):
        path = Path(name)
        if os.sep not in name:
            on_path = shutil.which(name, path=world.variables.get("PATH"))
            if on_path is None:
                faults.append(f"`{name}`: not on PATH")
                continue
            path = Path(on_path)
        path = Path(os.path.normpath(world.folder / path))
        try:
            found[path] = Uv(path, folder, world.variables).version()
        except ToolError as error:
            faults.append(": ".join((f"`{path}`", *error.causes[:1])))
        else:
            old += [path] if is_before(found[path], OLDEST_FILLED) else []
    if faults:
        message = "`--uv` names what is no uv"
        hint = "it takes the path of a uv program, or its name on PATH"
        raise UsageError(message, causes=tuple(faults), hint=hint)
    if old:
        message = f"`--uv` names a uv that is too old, the oldest that does is {OLDEST_FILLED}"
        raise UsageError(
            message,
            causes=tuple(f"`{path}` is version {found[path]}" for path in old),
            hint="older ones know no `UV_PROJECT_ENVIRONMENT`, and would change the project's own "
            "`.venv`; `uv self update` updates a uv",
            code="uv-too-old",
        )
    return found


def look_after(
    job: Job,
    workshop: Workshop,
    locks: tuple[Locked, ...],
    state: State,
    made: Iterable[str],
) -> Upkeep:
    """See to it that every uv toggles without a network, and prove it as far as is wished.

    `made` are the profiles whose environments the main uv has made just now. Where it turns
    out that a uv lacks something, which its cache may have lost, it is filled from the store.
    """
    new = set(made)
    known = {one.program: one for one in map(Filled.from_json, state.filled)}
    is_sound = caches_are_sound(state.last)
    wish = job.wishes.proof
    wished = {str(path) for path in job.wishes.uvs}
    stays = wished | {one.program for one in known.values() if one.named}
    named = (job.program, *map(Path, job.wishes.uvs))
    remembered = (path for path in map(Path, known) if str(path) in stays and path.exists())
    filled: list[Filled] = []
    proofs: list[Proof] = []
    notes: list[str] = []
    for path in dict.fromkeys((*named, *remembered)):
        uv = Uv(path, job.place.folder, job.world.variables)
        try:
            if path == job.program:
                now = _now(path, job.version, workshop.cache_folder, locks)
            else:
                now = _now(path, uv.version(), uv.cache_folder(), locks)
            now = replace(now, named=str(path) in stays)
        except GpuenvError as error:
            if path in named:
                raise
            # One that was named some time ago is no reason not to prepare.
            notes.append(f"the cache of uv (`{path}`) is not looked after: {error.line}")
            filled.append(replace(known[str(path)], ok=False))
            continue
        is_known = _covers(known.get(str(path)), now)
        covered = is_sound and is_known
        is_main = path == job.program
        if covered and not new and not workshop.pull.fetched and not wish:
            filled.append(replace(known[str(path)], named=now.named))
            continue
        if not workshop.store.is_writable:
            if str(path) in known:
                filled.append(replace(now, ok=False))
            continue
        all_made = is_main and new >= set(now.profiles)
        is_full = all_made or (covered and (is_main or not new))
        program = Program(path=path, version=now.version, cache=Path(now.cache))
        may_be_full = is_main or (is_known and not new)
        is_full, proof, note = _see_to(
            job, workshop, program, locks, is_full=is_full, may_be_full=may_be_full
        )
        filled.append(replace(now, ok=is_full))
        proofs += [proof] if proof else []
        notes += [note] if note else []
    where = (job.world.variables, job.world.home, job.place.folder)
    if proofs and uv_settings.keeps_nothing(*where):
        notes.append("uv is set to use no cache (`no-cache`): its own `uv sync` downloads again")
    if wish and workshop.store.is_writable:
        proofs += prove_others(job, workshop, locks)
    return Upkeep(
        filled=tuple(filled),
        is_settled=all(one.ok or one == known.get(one.program) for one in filled),
        proofs=tuple(proofs),
        notes=tuple(notes),
    )


def _see_to(  # noqa: PLR0913 - two things that are known of it
    job: Job,
    workshop: Workshop,
    program: Program,
    locks: tuple[Locked, ...],
    *,
    is_full: bool,
    may_be_full: bool,
) -> tuple[bool, Proof | None, str | None]:
    """Prove a uv, and fill it where it lacks something: whether it is full, and what is said.

    `is_full` is whether it should be; one that may be full is tried before it is filled. What is
    only made sure of, without a proof and with nothing to give it, is not worth a word.
    """
    proof = None
    proves = job.wishes.proof is not False
    if proves and (may_be_full or is_full):
        proof = prove_uv(job, workshop, program, locks)
        is_full = bool(proof.ok)
    if is_full:
        return True, proof, None
    with workshop.pull.watching() as taken:
        if fault := _fill(job, workshop, program, locks):
            return False, proof, fault
    is_told = proves or taken or not may_be_full
    proof = prove_uv(job, workshop, program, locks) if proves else None
    note = f"filled the cache of uv {program.version} (`{program.path}`) from the store"
    return proof is None or bool(proof.ok), proof, note if is_told else None


def _fill(job: Job, workshop: Workshop, program: Program, locks: tuple[Locked, ...]) -> str | None:
    """Let a uv take all that it lacks from the store; what kept it from that, if it failed."""
    try:
        with scratch(workshop.store) as folder, workshop.filling(program.path) as uv:
            sync_each(job, uv, locks, folder)
            # A plain `uv sync` looks whether the lock still fits, and at direct URLs for that.
            sync_each(job, uv, locks, folder, as_users=True)
    except GpuenvError as error:
        return f"the cache of uv {program.version} (`{program.path}`) is not filled: {error.line}"
    return None


def _now(path: Path, version: str, cache: Path, locks: tuple[Locked, ...]) -> Filled:
    if is_before(version, OLDEST_FILLED):
        message = f"it is version {version} now, the oldest that can be filled is {OLDEST_FILLED}"
        raise ToolError(message, code="uv-too-old")
    return Filled(
        program=str(path),
        version=version,
        signature=signature_of(path),
        cache=str(cache),
        profiles=tuple(locked.profile.name for locked in locks),
    )


def _covers(known: Filled | None, now: Filled) -> bool:
    return (
        known is not None
        and known.ok
        and (known.signature, known.version) == (now.signature, now.version)
        and known.cache == now.cache
        and set(now.profiles) <= set(known.profiles)
    )
