"""The lock of each profile, as PEP 751 text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from provisioner.adapters._files import write_whole
from provisioner.adapters.uv import Question, Turned, Uv, find_uv
from provisioner.core.plan import LockedSet, files_by_url, read_lock
from provisioner.core.requirements import Resolution, lock_name, made_from, signed
from provisioner.core.stubs import without_stubs
from provisioner.core.tags import markers, wheel_tags
from provisioner.errors import LockError, ToolError, said
from provisioner.workflow.index_routes import read_uv_lock
from provisioner.workflow.lock_indexes import check_indexes, record_indexes
from provisioner.workflow.place import store_of
from provisioner.workflow.stubs import StubReader

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from provisioner.adapters.projects import Place
    from provisioner.core.constraints import Constraint
    from provisioner.core.interpreter import Interpreter
    from provisioner.core.plan import Substitution
    from provisioner.core.profile import Profile
    from provisioner.core.select import Candidate
    from provisioner.workflow.job import Job
    from provisioner.workflow.workshop import Workshop
    from provisioner.workflow.world import World


_SEVERAL: Final = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Locked:
    """A profile's lock: its PEP 751 text, the file that it is from, and what it means.

    `written` is whether this run made the file, or changed it, and `replaced` are the stubs
    that it was resolved with, for which it has wheels.
    """

    candidate: Candidate
    text: str
    path: Path
    by_uv: bool
    contents: LockedSet
    written: bool = False
    replaced: tuple[Substitution, ...] = ()

    @property
    def profile(self) -> Profile:
        """The profile that it locks."""
        return self.candidate.profile


def turned(candidate: Candidate) -> Turned:
    """What a candidate turns on in the project."""
    return Turned(candidate.extras, candidate.groups, candidate.without)


def locked_by_uv(place: Place) -> bool:
    """Whether uv keeps the lock of the project: it has one, or is set up for uv."""
    manifest = place.manifest
    if manifest is None or not manifest.is_managed:
        return False
    is_member = place.home != place.folder
    return is_member or manifest.uses_uv or place.uv_lock.exists()


def lock_text(
    world: World, place: Place, candidate: Candidate, interpreter: Interpreter | None
) -> str | None:
    """The lock of a profile as PEP 751 text, as it is now and without a network.

    Raises:
        LockError: it is malformed or stale.
        ToolError: uv cannot read it, or only with a network.
    """
    if not locked_by_uv(place):
        path = place.folder / lock_name(candidate.profile.name)
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            message = f"lock `{path}` cannot be read"
            raise LockError(message, causes=(said(error),), code="lock-unreadable") from error
        except UnicodeDecodeError as error:
            message = f"lock `{path}` is malformed"
            raise LockError(message, causes=(str(error),), code="lock-malformed") from error
    if not place.uv_lock.exists():
        return None
    variables = {**world.variables, "UV_OFFLINE": "1"}
    python = interpreter.path if interpreter else None
    uv = Uv(find_uv(variables), place.folder, variables, python)
    return uv.export(turned(candidate), place.uv_lock)


def make_uv_lock(job: Job, workshop: Workshop) -> bool:
    """Let uv make `uv.lock` where uv keeps the lock and there is none; whether it was made.

    Raises:
        LockError: there is none and it must not be made.
        NetworkError: an index cannot be reached.
    """
    place, upgrade = job.place, job.wishes.upgrade
    if not locked_by_uv(place) or (place.uv_lock.exists() and not upgrade):
        return False
    if job.wishes.dry_run:
        message = f"there is no `{place.uv_lock.name}` yet, and `--dry-run` writes nothing"
        raise LockError(message, hint="`gpuenv lock` makes it", code="lock-missing")
    _refuse_offline(job, place.uv_lock)
    try:
        with workshop.resolving() as uv:
            uv.lock(upgrade=upgrade)
    except ToolError as error:
        error.hint = error.hint or _conflicts_hint(job)
        raise
    return True


def make_locks(job: Job, workshop: Workshop) -> tuple[Locked, ...]:
    """Read the lock of each of the job's candidates; make it where it is gpuenv's to make.

    Raises:
        LockError: a lock is malformed or stale.
        NetworkError: something has to be resolved and an index cannot be reached.
    """
    if locked_by_uv(job.place):
        workshop.pull.expect(files_by_url(read_uv_lock(job.place)))
        return tuple(_exported(job, workshop, candidate) for candidate in job.candidates)
    return tuple(_resolved(job, workshop, candidate) for candidate in job.candidates)


def with_wheels(
    job: Job, workshop: Workshop, locks: tuple[Locked, ...], *, keeps: bool
) -> tuple[Locked, ...]:
    """The locks with the wheels that their stub source distributions stand for on the target.

    Raises:
        GpuenvError: as `StubReader.with_wheels`.
    """
    tags = wheel_tags(job.interpreter, job.target.host.platform)
    reader = StubReader(job.world, workshop.pull, keeps=keeps)
    found = reader.with_wheels([locked.contents for locked in locks], tags)
    return tuple(
        replace(locked, contents=contents) for locked, contents in zip(locks, found, strict=True)
    )


def stand_ins(locks: Iterable[Locked]) -> tuple[Substitution, ...]:
    """What stubs stand for: those that locks name, and those that new ones have wheels for."""
    return tuple(
        one for locked in locks for one in (*locked.contents.substitutions, *locked.replaced)
    )


def _conflicts_hint(job: Job) -> str | None:
    """What most likely lacks, where extras of several CUDA lines do not resolve together."""
    manifest = job.place.manifest
    candidates = job.selection.candidates
    extras = sorted({("extra", name) for one in candidates for name in one.extras})
    groups = sorted({("group", name) for one in candidates for name in one.groups})
    if manifest is None or manifest.has_conflicts or len(extras + groups) < _SEVERAL:
        return None
    items = ", ".join(f'{{ {kind} = "{name}" }}' for kind, name in extras + groups)
    return f"lines that exclude each other need `conflicts = [[{items}]]` in `[tool.uv]`"


def _exported(job: Job, workshop: Workshop, candidate: Candidate) -> Locked:
    place = job.place
    text = job.read.get(candidate.profile.name)
    if text is None:
        text = workshop.export(turned(candidate), place.uv_lock)
    return _locked(job, candidate, text, place.uv_lock, by_uv=True)


def _resolved(job: Job, workshop: Workshop, candidate: Candidate) -> Locked:
    profile, place = candidate.profile, job.place
    manifest = place.folder / "pyproject.toml"
    in_project = place.manifest is not None
    resolution = Resolution(
        requirements=None if in_project else profile.requirements,
        manifest=manifest.read_text(encoding="utf-8") if in_project else None,
        extras=candidate.extras,
        groups=candidate.groups,
        indexes=profile.indexes,
        python=".".join(map(str, job.interpreter.minor)),
    )
    path = place.folder / lock_name(profile.name)
    old = path.read_text(encoding="utf-8") if path.exists() else None
    if old is not None and not job.wishes.upgrade:
        maker = made_from(old, str(path))
        if maker in {None, resolution.fingerprint}:
            return _locked(job, candidate, old, path, by_uv=False)
    _refuse_offline(job, path)
    given = None if in_project else "".join(f"{line}\n" for line in profile.requirements or ())
    workshop.pull.route(profile.indexes)
    bounds = _constraints(job, candidate)
    try:
        with workshop.resolving() as uv:
            text = uv.compile(
                Question(
                    source=str(manifest) if in_project else "-",
                    given=given,
                    turned=turned(candidate),
                    name=path.name,
                    old=old,
                    python=resolution.python,
                    indexes=tuple(f"{index.name}={index.url}" for index in profile.indexes),
                    constraints=tuple(map(str, bounds)),
                    upgrade=job.wishes.upgrade,
                )
            )
    except ToolError as error:
        said = "\n".join(error.causes)
        # uv names the packages for which it finds no version.
        error.causes += tuple(
            f"gpuenv keeps to `{item}`: {item.why}" for item in bounds if item.name in said
        )
        raise
    finally:
        workshop.pull.route(())
    stubs = StubReader(job.world, workshop.pull, keeps=not job.wishes.dry_run)
    text, replaced = without_stubs(text, stubs.every_wheel)
    text = signed(record_indexes(workshop.pull, text), resolution)
    locked = _locked(job, candidate, text, path, by_uv=False)
    if not job.wishes.dry_run:
        write_whole(path, text)
    chosen = {file.digest for file in locked.contents.files}
    used = tuple(one for one in replaced if one.wheel.digest in chosen)
    return replace(locked, written=not job.wishes.dry_run, replaced=used)


def _constraints(job: Job, candidate: Candidate) -> tuple[Constraint, ...]:
    """What keeps the versions to those that the GPUs of every target run and their libc takes.

    Not part of the lock's fingerprint: another machine's lock is as good until it is found to
    have something that this one cannot run.
    """
    from provisioner.adapters.profiles import load_artefact_facts
    from provisioner.core.artefacts import torch_label
    from provisioner.core.constraints import constraints
    from provisioner.core.policy import counted

    if job.options.force:
        return ()
    tables = load_artefact_facts()
    bounds: dict[str, Constraint] = {}
    for target in (job.target, *job.wishes.also):
        host = target.host
        gpus = candidate.gpus if target is job.target else ()
        found = constraints(
            candidate.profile.cuda,
            host,
            gpus or counted(job.options.gpu_policy, host.gpus),
            job.facts,
            tables,
            job.interpreter,
            torch_label(candidate.profile),
        )
        bounds.update((str(item), item) for item in found)
    return tuple(bounds.values())


def _refuse_offline(job: Job, path: Path) -> None:
    """Resolving needs index pages as they are now."""
    if not job.options.offline:
        return
    what = "has to be resolved again" if path.exists() else "is missing"
    message = f"the lock `{path.name}` {what}, and `--offline` forbids it"
    raise LockError(
        message, hint="run `gpuenv lock` once with a network", code="lock-needs-network"
    )


def _locked(job: Job, candidate: Candidate, text: str, path: Path, *, by_uv: bool) -> Locked:
    contents = read_lock(text, job.interpreter, job.target.host.platform, str(path))
    locked = Locked(candidate=candidate, text=text, path=path, by_uv=by_uv, contents=contents)
    environment = markers(job.interpreter, job.target.host.platform)
    check_indexes(job.world, job.place, store_of(job.world, job.options), locked, environment)
    return locked
