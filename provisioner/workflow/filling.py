"""Keep the caches of the user's uvs filled: what they need for every profile, from the store."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters import uv_settings
from provisioner.adapters.uv import Uv
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

_LISTS: Final = ("signature", "profiles")


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """A uv whose cache has what some profiles of a project need.

    `signature` tells that another program lies at the path now; `ok` is whether the last
    proof, if there was one, was right.
    """

    program: str
    version: str
    signature: tuple[int, ...]
    cache: str
    profiles: tuple[str, ...]
    ok: bool = True

    def to_json(self) -> dict[str, Any]:
        """The written form."""
        data = {name: getattr(self, name) for name in self.__slots__}
        return {**data, **{name: list(data[name]) for name in _LISTS}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Filled:
        """Read the written form."""
        return cls(**{**data, **{name: tuple(data[name]) for name in _LISTS}})


@dataclass(frozen=True, kw_only=True, slots=True)
class Upkeep:
    """What was filled, what was tried, and what is to be said of it."""

    filled: tuple[Filled, ...]
    proofs: tuple[Proof, ...] = ()
    notes: tuple[str, ...] = ()


def named_uvs(world: World, folder: Path, uvs: Iterable[Path]) -> tuple[Path, ...]:
    """The uvs of `--uv`, each looked at.

    Raises:
        UsageError: one is no uv.
    """
    found = tuple(dict.fromkeys(Path(os.path.normpath(world.folder / path)) for path in uvs))
    faults = []
    for path in found:
        try:
            Uv(path, folder, world.variables).version()
        except ToolError as error:
            faults.append(": ".join((f"`{path}`", *error.causes[:1])))
    if faults:
        message = "`--uv` names what is no uv"
        raise UsageError(message, causes=tuple(faults), hint="it takes the path of a uv program")
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
    others = job.wishes.uvs or tuple(
        Path(name) for name in known if name != str(job.program) and Path(name).exists()
    )
    filled: list[Filled] = []
    proofs: list[Proof] = []
    notes: list[str] = []
    for path in dict.fromkeys((job.program, *others)):
        uv = Uv(path, job.place.folder, job.world.variables)
        now = _now(uv, path, locks)
        covered = is_sound and _covers(known.get(str(path)), now)
        is_main = path == job.program
        if covered and not new and not workshop.pull.fetched and not wish:
            filled.append(known[str(path)])
            continue
        if not workshop.store.is_writable:
            continue
        program = Program(path=path, version=now.version)
        all_made = is_main and new >= set(now.profiles)
        is_full = all_made or (covered and (is_main or not new))
        proof = None
        if wish is not False and (is_main or is_full):
            proof = prove_uv(job, workshop, program, locks)
            is_full = bool(proof.ok)
        if not is_full:
            if fault := _fill(job, workshop, program, locks):
                notes.append(fault)
            else:
                notes.append(f"filled the cache of uv {now.version} (`{path}`) from the store")
                proof = prove_uv(job, workshop, program, locks) if wish is not False else None
                is_full = proof is None or bool(proof.ok)
        proofs += [proof] if proof else []
        filled.append(replace(now, ok=is_full))
    where = (job.world.variables, job.world.home, job.place.folder)
    if proofs and uv_settings.keeps_nothing(*where):
        notes.append("uv is set to use no cache (`no-cache`): its own `uv sync` downloads again")
    if wish and workshop.store.is_writable:
        proofs += prove_others(job, workshop, locks)
    return Upkeep(filled=tuple(filled), proofs=tuple(proofs), notes=tuple(notes))


def _fill(job: Job, workshop: Workshop, program: Program, locks: tuple[Locked, ...]) -> str | None:
    """Let a uv take all that it lacks from the store; what kept it from that, if it failed."""
    try:
        with scratch(workshop.store) as folder, workshop.filling(program.path) as uv:
            sync_each(job, uv, locks, folder)
    except GpuenvError as error:
        causes = "; ".join((error.message, *error.causes))
        return f"the cache of uv {program.version} (`{program.path}`) is not filled: {causes}"
    return None


def _now(uv: Uv, path: Path, locks: tuple[Locked, ...]) -> Filled:
    return Filled(
        program=str(path),
        version=uv.version(),
        signature=signature_of(path),
        cache=str(uv.cache_folder()),
        profiles=tuple(locked.profile.name for locked in locks),
    )


def _covers(known: Filled | None, now: Filled) -> bool:
    return (
        known is not None
        and known.ok
        and (known.signature, known.cache) == (now.signature, now.cache)
        and set(now.profiles) <= set(known.profiles)
    )
