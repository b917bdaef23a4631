"""The wheels that an environment in an image is made of."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from provisioner.adapters.machine import this_platform
from provisioner.adapters.state import StateFolder
from provisioner.core.blob_record import Built
from provisioner.core.digest import Digest
from provisioner.core.image_layers import Part
from provisioner.core.project import normalise
from provisioner.core.tags import wheel_tags
from provisioner.core.version import DottedVersion
from provisioner.errors import SelectionError, ToolError
from provisioner.workflow.place import state_of
from provisioner.workflow.prepare import lock_job, purpose_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.adapters.uv import Uv
    from provisioner.core.host import Libc
    from provisioner.core.plan import LockedFile
    from provisioner.workflow.job import Job
    from provisioner.workflow.locks import Locked
    from provisioner.workflow.workshop import Workshop

_ANY: Final = "any"
_WAIT_SECONDS: Final = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The wheels of one environment for a target.

    `parts` are kept in the store, `local` were made of folders just now and lie in `folder`;
    `paths` says where each lies.
    """

    job: Job
    locked: Locked
    parts: tuple[Part, ...]
    local: tuple[Part, ...]
    paths: dict[Digest, Path]


def find_parts(
    job: Job, workshop: Workshop, folder: Path, modified: int, libc: Libc | None
) -> Parts:
    """Lock, fetch and build what an environment of the chosen profile has.

    What is built of folders is put into `folder`. Times are `modified`. `libc` is the C library
    of the base, where there is one.

    Raises:
        SelectionError: a package cannot be had as a wheel for the target.
        GpuenvError: as `prepare` of the same raises.
    """
    from provisioner.adapters.roots import Roots
    from provisioner.core.plan import plan_fetch
    from provisioner.core.room import refuse_shortage
    from provisioner.workflow.environments import refuse_unwritable
    from provisioner.workflow.room import look_for_room

    store = workshop.store
    with _held(job) as home:
        job, (locked,), written, _ = lock_job(job, workshop)
        wanted = _wanted(locked)
        if home is not None and store.is_writable:
            # So that no collection takes what the image was made of.
            files = (*wanted, *locked.contents.files)
            purpose = f"image:{purpose_of(job)}"
            Roots(store.root).register(home, purpose, files, job.world.now())
    for note in written:
        job.world.progress.note(note)
    plan = plan_fetch(wanted, workshop.pull.ledger)
    refuse_unwritable(store, (), plan.missing)
    refuse_shortage(look_for_room(workshop, plan, (), exactly=False), str(store.root))
    workshop.pull.know(locked.contents.known)
    workshop.pull.fetch(plan)
    maker = _Maker(job, workshop, modified, libc or job.target.host.platform.libc)
    found = [maker.part(file) for file in wanted]
    found += [maker.out_of_environment(locked, name) for name in locked.contents.elsewhere]
    local = tuple(maker.build(source, folder) for source in _folders(job, locked))
    maker.refuse_faults()
    return Parts(
        job=job,
        locked=locked,
        parts=tuple(found),
        local=local,
        paths={
            **{part.digest: store.blob(part.digest) for part in found},
            **{part.digest: folder / part.file for part in local},
        },
    )


@contextmanager
def _held(job: Job) -> Iterator[Path | None]:
    """Hold the project, where it can be written to; its home."""
    home = job.place.home
    if not os.access(home, os.W_OK):
        yield None
        return
    with StateFolder(home).hold(
        wait_seconds=_WAIT_SECONDS,
        waiting=lambda holder: job.world.progress.note(f"waiting for {holder}"),
    ):
        yield home


def _wanted(locked: Locked) -> tuple[LockedFile, ...]:
    """The files of a lock, with wheels in the places of the stubs that stand for them."""
    stands = {item.stub.digest: item.wheel for item in locked.contents.substitutions}
    every = (stands.get(file.digest, file) for file in locked.contents.files)
    return tuple({file.digest: file for file in every}.values())


def _folders(job: Job, locked: Locked) -> tuple[Path, ...]:
    """The project, as far as it is a package, and the folders that its lock names."""
    place, manifest = job.place, job.place.manifest
    others = (Path(os.path.normpath(place.folder / path)) for path in locked.contents.folders)
    own = not locked.by_uv and manifest is not None and manifest.is_package
    return tuple(dict.fromkeys((*([place.folder] if own else []), *others)))


class _Maker:
    """Makes wheels of what is none."""

    def __init__(self, job: Job, workshop: Workshop, modified: int, libc: Libc | None) -> None:
        self._job = job
        self._libc = libc
        self._workshop = workshop
        self._modified = modified
        self._tags = frozenset(wheel_tags(job.interpreter, job.target.host.platform))
        self._faults: list[str] = []

    def part(self, file: LockedFile) -> Part:
        """A file of the store, or the wheel that is built of it."""
        if file.name.endswith(".whl"):
            return self._part(file.name, file.digest)
        built = self._kept(file.digest) or self._built(file)
        if fault := self._fault(built.file):
            self._faults.append(f"`{file.name}` {fault}")
        return built

    def _kept(self, source: Digest) -> Part | None:
        """A wheel that was built of a source distribution before, and fits."""
        from provisioner.adapters.records import Records

        store = self._workshop.store
        found = [
            (record.built.name, digest)
            for root in (store.root, *store.lower)
            for digest, record, _ in Records(root).every()
            if record and record.built and record.built.source == source and digest in store
        ]
        fits = sorted((name, digest) for name, digest in found if not self._fault(name))
        return self._part(*fits[0]) if fits else None

    def _built(self, file: LockedFile) -> Part:
        """Build one now, and keep it where it is of use."""
        pull, store = self._workshop.pull, self._workshop.store
        what = f"the wheel that is built of `{file.name}` would have to be kept in it"
        store.require_writable([what])
        path = pull.ledger.link(file.digest, file.name)
        with tempfile.TemporaryDirectory(prefix="gpuenv-") as name:
            folder = Path(name)
            if path is None:
                path = folder / file.name
                path.symlink_to(store.blob(file.digest))
            made = self._build(path, folder / "built")
            if pull.build_tools:
                pull.ledger.built_with([file.digest], pull.build_tools)
            if self._fault(made.name):
                return self._named(made.name, file.digest, 0)
            digest, _ = store.keep_made(partial(_copy, made))
            pull.ledger.made(digest, Built(name=made.name, source=file.digest))
            return self._part(made.name, digest)

    def build(self, source: Path, folder: Path) -> Part:
        """Build a wheel of a folder that is installed as it is."""
        made = self._build(source, folder / f"{len(list(folder.iterdir()))}")
        place = folder / made.name
        made.replace(place)
        if fault := self._fault(place.name):
            self._faults.append(f"`{source.name}` {fault}")
        return self._named(place.name, _file_digest(place), place.stat().st_size)

    def out_of_environment(self, locked: Locked, package: str) -> Part:
        """The wheel of a package that is no file of an index, out of a prepared environment."""
        from provisioner.adapters.packing import installed_in, pack

        for environment in self._environments(locked.profile.name):
            with suppress(OSError, ValueError):
                found = installed_in(environment, package)
                if found is not None:
                    store = self._workshop.store
                    digest, name = store.keep_made(partial(pack, environment, found))
                    if fault := self._fault(name):
                        self._faults.append(f"`{package}` {fault}")
                    return self._part(name, digest)
        self._faults.append(
            f"`{package}` is from a repository or a file of this machine, and no environment "
            "here has it"
        )
        return Part(name=package, version="", file="", digest=Digest("0" * 64), size=0)

    def _environments(self, profile: str) -> Iterator[Path]:
        state = state_of(self._job.world, self._job.options).read()
        if self._job.not_here:
            return
        for item in state.prepared:
            if item.profile == profile and Path(item.environment).is_dir():
                yield Path(item.environment)

    def refuse_faults(self) -> None:
        """Refuse what cannot be had as a wheel for the target, all of it at once.

        Raises:
            SelectionError: there is some.
        """
        if self._faults:
            message = "packages cannot be baked for the target"
            raise SelectionError(
                message,
                causes=tuple(dict.fromkeys(self._faults)),
                hint="bake on a machine like the target, after `gpuenv prepare` there",
                code="not-bakeable",
            )

    def _fault(self, name: str) -> str | None:
        """Why a wheel that was built here is of no use on the target."""
        try:
            _, _, _, tags = parse_wheel_filename(name)
        except InvalidWheelFilename as error:
            return f"was built as `{name}`: {error}"
        if not self._tags & tags:
            return f"has to be built there: what is built here is `{name}`"
        if all(tag.platform == _ANY for tag in tags):
            return None
        return _other_libc(this_platform().libc, self._libc)

    def _build(self, source: Path, folder: Path) -> Path:
        """Let uv build a wheel, behind the gateway."""
        folder.mkdir(parents=True)
        with self._workshop.building() as uv:
            uv.build_wheel(source, self._python(uv), folder, self._modified)
        made = sorted(folder.glob("*.whl"))
        if len(made) != 1:
            message = f"uv has built no wheel of `{source.name}`"
            raise ToolError(message, code="uv-failed")
        return made[0]

    def _python(self, uv: Uv) -> Path:
        """The target's Python, or where there is none any one: what is pure does not mind."""
        path = self._job.interpreter.path
        return Path(path) if path else uv.find_python(None)

    def _part(self, name: str, digest: Digest) -> Part:
        return self._named(name, digest, self._workshop.store.size(digest))

    def _named(self, file: str, digest: Digest, size: int) -> Part:
        name, version, _, _ = parse_wheel_filename(file)
        return Part(name=normalise(name), version=str(version), file=file, digest=digest, size=size)


def _copy(path: Path, file: IO[bytes]) -> str:
    file.write(path.read_bytes())
    return path.name


def _other_libc(here: Libc | None, there: Libc | None) -> str | None:
    """Why what is compiled here may not run there: it needs this C library, or a newer one."""
    if here is None or there is None:
        return None
    if here[0] == there[0] and DottedVersion.parse(here[1]) <= DottedVersion.parse(there[1]):
        return None
    return f"is compiled here, for {here[0]} `{here[1]}`; the image has {there[0]} `{there[1]}`"


def _file_digest(path: Path) -> Digest:
    import hashlib

    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())
