"""Try the toggles of a project's clients with the network cut off."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.adapters import environment
from provisioner.adapters.links import link_mode
from provisioner.adapters.uv import SCRUBBED, Turned, Uv
from provisioner.core.proofs import Proof
from provisioner.core.requirements import lock_name
from provisioner.errors import GpuenvError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from provisioner.adapters.store import Store
    from provisioner.workflow.job import Job
    from provisioner.workflow.locks import Locked
    from provisioner.workflow.workshop import Workshop

_PIP: Final = (26, 1)
"""The first version of pip that installs a PEP 751 lock (its news)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A uv, what it says that it is, and where it keeps what it has unpacked."""

    path: Path
    version: str
    cache: Path

    def proof(self, toggles: Iterable[Locked]) -> Proof:
        """A proof of it that nothing has come of yet."""
        names = tuple(locked.profile.name for locked in toggles)
        return Proof(client="uv", version=self.version, program=str(self.path), toggles=names)


def round_trip(locks: tuple[Locked, ...]) -> tuple[Locked, ...]:
    """Every profile, and back to the first."""
    return (*locks, locks[0]) if len(locks) > 1 else locks


def prove_uv(job: Job, workshop: Workshop, program: Program, locks: tuple[Locked, ...]) -> Proof:
    """Let a uv go through all profiles as its user would, and get nothing."""
    toggles = round_trip(locks)
    proof = program.proof(toggles)
    with scratch(workshop.store) as folder, workshop.cut_off() as apart:
        # Without room on whatever file systems both lie. Symbolic links take ten times as long.
        mode = link_mode(program.cache, folder.parent)
        variables = {**apart.variables, "UV_LINK_MODE": "symlink" if mode == "copy" else mode}
        uv = replace(apart, variables=variables).uv(program.path)
        return tried(
            proof, apart.origin.asked, lambda: sync_each(job, uv, toggles, folder, as_users=True)
        )


def tried(proof: Proof, asked: list[str], work: Callable[[], None]) -> Proof:
    """What comes of a client's work, and what it has asked for meanwhile."""
    try:
        work()
    except GpuenvError as error:
        return replace(proof, ok=False, why=error.line, wanted=tuple(asked))
    return replace(proof, ok=True, wanted=tuple(asked))


def sync_each(
    job: Job, uv: Uv, locks: Iterable[Locked], folder: Path, *, as_users: bool = False
) -> None:
    """Bring one environment from profile to profile.

    Raises:
        GpuenvError: uv fails.
    """
    python = Path(job.interpreter.path or "")
    manifest = job.place.manifest
    editable = job.place.folder if manifest is not None and manifest.is_package else None
    for locked in locks:
        one = locked.candidate
        if locked.by_uv:
            turned = Turned(one.extras, one.groups, one.without)
            uv.sync_project(turned, folder, python, as_users=as_users)
        else:
            uv.sync_lock(locked.path, folder, python, editable=None if as_users else editable)


def prove_others(job: Job, workshop: Workshop, locks: tuple[Locked, ...]) -> tuple[Proof, ...]:
    """Let pip and poetry do the same, where they can, and say why of what is not tried."""
    from provisioner.adapters.pip_program import find_pips

    variables = {k: v for k, v in job.world.variables.items() if k not in SCRUBBED}
    pips = find_pips(Path(job.interpreter.path or ""), variables)
    proofs = [_prove_pip(job, workshop, locks, pip, version) for pip, version in pips]
    if not pips:
        why = "neither PATH nor the project's Python has one"
        proofs.append(Proof(client="pip", why=why))
    if (job.place.folder / "poetry.lock").exists():
        from provisioner.workflow.poetry_proof import prove_poetry

        proofs.append(prove_poetry(job, workshop, locks, variables))
    return tuple(proofs)


def _prove_pip(
    job: Job, workshop: Workshop, locks: tuple[Locked, ...], pip: tuple[str, ...], version: str
) -> Proof:
    from provisioner.adapters.pip_program import install_lock

    toggles = round_trip(locks)
    proof = Proof(
        client="pip",
        version=version,
        program=pip[0] if len(pip) == 1 else " ".join(pip),
        toggles=tuple(locked.profile.name for locked in toggles),
    )
    if not _is_at_least(version, _PIP):
        wants = ".".join(map(str, _PIP))
        why = f"a pip before {wants} cannot install a lock; `gpuenv env --pip` serves it"
        return replace(proof, toggles=(), why=why)
    paths = [job.place.folder / ".gpuenv" / lock_name(name) for name in proof.toggles]
    if lacks := [path.name for path in paths if not path.exists()]:
        return replace(proof, toggles=(), why=f"there is no `.gpuenv/{lacks[0]}`")
    with scratch(workshop.store) as folder, workshop.cut_off() as apart:
        own = {k: v for k, v in apart.variables.items() if k not in SCRUBBED}

        def toggle() -> None:
            workshop.offline.make_environment(folder, Path(job.interpreter.path or ""))
            for path in paths:
                install_lock(pip, path, folder, own)

        return tried(proof, apart.origin.asked, toggle)


def _is_at_least(version: str, least: tuple[int, ...]) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version).release >= least
    except InvalidVersion:
        return False


@contextmanager
def scratch(store: Store) -> Iterator[Path]:
    """A path for an environment that goes afterwards; nothing else ever uses it."""
    folder = store.new_environment("proof")
    try:
        yield folder
    finally:
        environment.discard(folder)
