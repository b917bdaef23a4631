"""`gpuenv prepare --from`: a project's environments out of one file, without a network."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from provisioner.adapters._files import write_whole
from provisioner.core.bundle import SEED_LOCK
from provisioner.core.profile import NAME
from provisioner.core.requirements import lock_name
from provisioner.errors import GpuenvError, IntegrityError, LockError, NetworkError, UsageError
from provisioner.workflow.place import place_of
from provisioner.workflow.prepare import prepare
from provisioner.workflow.store_import import store_import

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.adapters.projects import Place
    from provisioner.core.bundle import BundledLock, Manifest
    from provisioner.workflow.prepared import PrepareResult
    from provisioner.workflow.world import Options, Wishes, World

_PROFILE_LOCK: Final = re.compile(re.escape(lock_name("NAME")).replace("NAME", NAME.pattern))


def prepare_from(
    world: World, options: Options, wishes: Wishes, source: Path | IO[bytes]
) -> PrepareResult:
    """Take a bundle into the store, and prepare from what is held.

    Its locks are taken where the project has none; they are removed again where nothing could
    be prepared from them.

    Raises:
        UsageError: the bundle is of another project.
        LockError: the project has other locks than the bundle.
        GpuenvError: as `store_import` and `prepare` raise.
    """
    place = place_of(world, options)
    shown = str(source) if isinstance(source, Path) else "-"

    def accept(manifest: Manifest) -> None:
        _refuse_other_project(place, manifest, shown)
        _refuse_other_locks(place, manifest, shown)

    taken = store_import(world, options, source, pin=True, accept=accept)
    written = []
    texts = _texts(taken.texts)
    wishes = replace(wishes, seed_lock=texts.get(SEED_LOCK))
    try:
        for name, text in texts.items():
            path = _place_of_lock(place, name)
            if path is not None and not path.exists():
                write_whole(path, text)
                written.append(path)
        result = prepare(world, replace(options, offline=True), wishes)
    except GpuenvError as error:
        for path in written:
            with suppress(OSError):
                path.unlink()
        if isinstance(error, NetworkError):
            error.causes += (f"the bundle `{shown}` has not got it either",)
            error.hint = (
                "export it again where `gpuenv prepare` was run for this target and Python, as "
                "with `--target` and `--python`"
            )
        raise
    notes = tuple(f"wrote `{path.name}` of the bundle, to be committed" for path in written)
    return replace(result, imported=taken.imported, notes=(*notes, *result.notes))


def _texts(locks: Mapping[str, bytes]) -> dict[str, str]:
    """The locks of a bundle as texts.

    Raises:
        IntegrityError: one is none.
    """
    try:
        return {name: content.decode() for name, content in locks.items()}
    except UnicodeDecodeError as error:
        message = "a lock in the bundle is no text"
        raise IntegrityError(message, causes=(str(error),), code="bundle-damaged") from error


def _place_of_lock(place: Place, name: str) -> Path | None:
    """Where a lock belongs; None for a name that no lock of a project has."""
    if name == place.uv_lock.name:
        return place.uv_lock if place.manifest is not None else None
    return place.folder / name if _PROFILE_LOCK.fullmatch(name) else None


def _refuse_other_project(place: Place, manifest: Manifest, shown: str) -> None:
    """Refuse a bundle of another project, or of a project where there is none."""
    names = [lock.name for lock in manifest.locks]
    own = place.manifest.name if place.manifest else None
    if place.manifest is None and place.uv_lock.name in names:
        message = f"the bundle `{shown}` is of the project `{manifest.name}`"
        raise UsageError(
            message,
            causes=(f"there is no `pyproject.toml` in `{place.folder}`",),
            hint=f"run it in a copy of `{manifest.name}`, or name one with `--project`",
            code="other-project",
        )
    if own is not None and names and own != manifest.name:
        message = f"the bundle `{shown}` is of another project"
        raise UsageError(
            message,
            causes=(f"it is of `{manifest.name}`, and this is `{own}`",),
            hint="`gpuenv store import` takes its files all the same",
            code="other-project",
        )


def _refuse_other_locks(place: Place, manifest: Manifest, shown: str) -> None:
    """Refuse a bundle whose locks are not those of the project."""
    causes = [cause for lock in manifest.locks if (cause := _difference(place, lock))]
    if causes:
        message = f"the bundle `{shown}` was made from other locks"
        raise LockError(
            message,
            causes=tuple(causes),
            hint="export it again with the project's locks, or take those of the bundle by "
            "removing these; `gpuenv store import` takes its files all the same",
            code="other-locks",
        )


def _difference(place: Place, lock: BundledLock) -> str | None:
    path = _place_of_lock(place, lock.name)
    if path is None or not path.exists():
        return None
    own = hashlib.sha256(path.read_bytes()).hexdigest()
    if own == lock.digest.hex:
        return None
    return f"`{lock.name}` here has sha256 `{own}`, that of the bundle `{lock.digest}`"
