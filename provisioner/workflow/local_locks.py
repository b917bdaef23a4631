"""`.gpuenv/pylock.<profile>.toml`: a standard lock whose files lie in the store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.core.requirements import lock_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.core.digest import Digest
    from provisioner.core.history import Prepared
    from provisioner.core.local_lock import LocalFile
    from provisioner.workflow.built_wheels import BuiltWheel
    from provisioner.workflow.job import Job
    from provisioner.workflow.locks import Locked
    from provisioner.workflow.workshop import Workshop


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalLocks:
    """What the local locks name: the wheels that were built here, and files by their paths.

    `notes` are what they lack.
    """

    built: frozenset[Digest] = frozenset()
    links: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def local_lock_path(folder: Path, profile: str) -> Path:
    """Where the local lock of a profile is, or would be, in a project's folder."""
    return folder / ".gpuenv" / lock_name(profile)


def write_local_locks(
    job: Job,
    workshop: Workshop,
    locks: Iterable[Locked],
    prepared: Mapping[str, Prepared],
) -> LocalLocks:
    """Write the local lock of each profile where it is another now; what they name.

    What was built for the `prepared` environments takes the places of source distributions.
    Where all profiles are prepared, those of profiles that are no more are removed.

    Raises:
        SpaceError: the store is full.
    """
    from provisioner.adapters._files import write_whole
    from provisioner.workflow.built_wheels import built_in

    if not job.wishes.remember:
        return LocalLocks()  # One of several targets: each would write the same files.
    built: set[Digest] = set()
    lacks: dict[str, None] = {}
    links: dict[Path, None] = {}
    paths: list[Path] = []
    for locked in locks:
        wheels: tuple[BuiltWheel, ...] = ()
        if made := prepared.get(locked.profile.name):
            environment = job.place.home / made.environment
            wheels = built_in(job.world, workshop, environment, locked.contents)
        built |= {wheel.digest for wheel in wheels}
        path = local_lock_path(job.place.folder, locked.profile.name)
        paths.append(path)
        files = _files(workshop, locked, wheels, path.parent)
        links.update(dict.fromkeys(path.parent / file.path for file in files.values()))
        text, notes = _text(job, locked, files, path.parent)
        lacks.update(dict.fromkeys(notes))
        if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
            write_whole(path, text)
    if not job.wishes.only and (job.place.manifest is not None or job.wishes.every):
        some = local_lock_path(job.place.folder, "*")
        for path in {*some.parent.glob(some.name)} - {*paths}:
            path.unlink(missing_ok=True)
    return LocalLocks(built=frozenset(built), links=tuple(links), notes=tuple(lacks))


def _text(
    job: Job, locked: Locked, files: Mapping[str, LocalFile], folder: Path
) -> tuple[str, tuple[str, ...]]:
    """The text of a local lock in a folder, and what it lacks."""
    import tomlkit

    from provisioner.core.local_lock import local_lock

    manifest, project = job.place.manifest, None
    if not locked.by_uv and manifest and manifest.is_package and manifest.package_name:
        project = (manifest.package_name, ".")
    made = local_lock(
        locked.text,
        (job.interpreter, job.target.host.platform),
        files,
        # uv tells paths from the folder that it was run in.
        lambda path: _path(job.place.folder / path, folder),
        project,
    )
    first = f"# Made by `gpuenv prepare` from `{locked.path.name}`, for this machine alone.\n"
    return first + tomlkit.dumps(made.data), made.notes


def _files(
    workshop: Workshop, locked: Locked, wheels: Iterable[BuiltWheel], folder: Path
) -> dict[str, LocalFile]:
    """What lies in the store for each hash of a lock."""
    from provisioner.core.local_lock import LocalFile

    found: dict[Digest, list[tuple[Digest, str]]] = {
        file.digest: [(file.digest, file.name)] for file in locked.contents.files
    }
    for wheel in wheels:
        found[wheel.built.source].insert(0, (wheel.digest, wheel.built.name))
    for item in locked.contents.substitutions:
        found[item.stub.digest] = [(item.wheel.digest, item.wheel.name)]
    files: dict[str, LocalFile] = {}
    for locked_digest, candidates in found.items():
        for digest, name in candidates:
            if link := workshop.pull.ledger.link(digest, name):
                files[locked_digest.hex] = LocalFile(
                    name=name,
                    path=_path(link, folder),
                    digest=digest,
                    size=workshop.store.size(digest),
                )
                break
    return files


def _path(path: Path, folder: Path) -> str:
    """A path as a file in a folder has it: relative, where no link on the way leads astray.

    A client may resolve `..` by the names of the folders or by where they really are.
    """
    there = Path(os.path.normpath(path))
    if os.path.realpath(folder) != str(folder) or os.path.realpath(there.parent) != str(
        there.parent
    ):
        return str(there)
    return os.path.relpath(there, folder)
