"""An OCI image layout, as a folder or as one tar archive, that is there whole or not at all."""

from __future__ import annotations

import glob
import json
import os
import shutil
import tarfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from provisioner.adapters._files import (
    DAMAGED,
    NO_SPACE,
    SHORT_WAIT_SECONDS,
    is_held,
    locked,
    sync_folder,
)
from provisioner.core.digest import Digest
from provisioner.core.oci import INDEX, LAYOUT, TAG, Layer, document
from provisioner.errors import GpuenvError, SpaceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provisioner.core.oci import Document

_INDEX: Final = "index.json"
_LAYOUT: Final = "oci-layout"
_BLOCK_BYTES: Final = 1 << 20
_TAR_ENDING: Final = ".tar"
_PARTIAL: Final = ".partial"
LOCK: Final = "lock"
"""What holds a staged folder; it goes before the folder is published."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """Where an image goes: a folder, or a file where the name ends like a tar archive's.

    `kept` are the descriptors of other images in a folder that is a layout already.
    """

    path: Path
    is_tar: bool
    tag: str
    kept: tuple[dict[str, Any], ...] = ()
    replaced: tuple[dict[str, Any], ...] = ()
    exists: bool = False


def look_at_output(path: Path, tag: str) -> Output:
    """See whether an image may be put somewhere, before anything is made.

    In a folder with other images it is put beside them; the image of the same tag is replaced,
    and so is an archive that has no other one.

    Raises:
        GpuenvError: there is something else, or it cannot be written there.
    """
    is_tar = path.name.endswith(_TAR_ENDING) and not path.is_dir()
    refuse_unwritable_output(path)
    if not os.path.lexists(path):
        return Output(path=path, is_tar=is_tar, tag=tag)
    if path.is_dir() and not any(not _is_staged(name) for name in os.listdir(path)):  # noqa: PTH208
        return Output(path=path, is_tar=False, tag=tag, exists=True)
    found = _images_in(path, is_tar=is_tar)
    if found is None:
        message = f"`{path}` is there already, and is no image of the OCI"
        raise GpuenvError(message, hint="choose another `--output`", code="output-exists")
    same = tuple(item for item in found if _tag_of(item) == tag)
    others = tuple(item for item in found if _tag_of(item) != tag)
    if is_tar and others:
        message = f"`{path}` has other images"
        raise GpuenvError(
            message,
            causes=tuple(f"one is called `{_tag_of(item)}`" for item in others),
            hint="choose another `--output`; a folder takes several",
            code="output-exists",
        )
    return Output(path=path, is_tar=is_tar, tag=tag, kept=others, replaced=same, exists=True)


def refuse_unwritable_output(path: Path) -> None:
    """Refuse a path that nothing can be written to.

    Raises:
        GpuenvError: its folder is not there, or not this user's to write to.
    """
    parent = path.parent
    if not parent.is_dir():
        message = f"there is no folder `{parent}`"
        raise GpuenvError(message, hint=f"`mkdir -p {parent}`", code="output-unusable")
    if not os.access(path if path.is_dir() else parent, os.W_OK | os.X_OK):
        message = f"`{path}` cannot be written"
        hint = "choose another place with `--output`"
        raise GpuenvError(message, hint=hint, code="output-unusable")


def _is_staged(name: str) -> bool:
    return name.startswith(".") and name.endswith(_PARTIAL)


def _tag_of(item: dict[str, Any]) -> str | None:
    annotations = item.get("annotations")
    return annotations.get(TAG) if isinstance(annotations, dict) else None


def _images_in(path: Path, *, is_tar: bool) -> list[dict[str, Any]] | None:
    """The descriptors of the images in a layout; None where it is none."""
    try:
        if is_tar:
            with tarfile.open(path) as archive:
                member = archive.extractfile(_INDEX)
                content = member.read() if member else b""
        else:
            if not (path / _LAYOUT).is_file():
                return None
            content = (path / _INDEX).read_bytes()
        found = json.loads(content)["manifests"]
    except (OSError, tarfile.TarError, *DAMAGED):
        return None
    return found if all(isinstance(item, dict) for item in found) else None


@contextmanager
def new_image(output: Output, *, modified: int) -> Iterator[LayoutWriter]:
    """Write an image: it takes its place when `publish` is called, else nothing is left.

    Raises:
        SpaceError: the file system is full.
    """
    # In a folder that is there, which may be a mount of its own.
    with staged_beside(output.path / "image" if output.path.is_dir() else output.path) as staged:
        (staged / "blobs" / "sha256").mkdir(parents=True)
        yield LayoutWriter(output, staged, modified)


@contextmanager
def staged_beside(path: Path) -> Iterator[Path]:
    """A folder beside a path, in which what goes there is made; it is removed at the end.

    What one that was killed has left there is removed first.

    Raises:
        SpaceError: the file system is full.
    """
    name = f".{path.name}."
    for left in path.parent.glob(f"{glob.escape(name)}*{_PARTIAL}"):
        if not is_held(left / LOCK):
            shutil.rmtree(left, ignore_errors=True)
    staged = path.with_name(f"{name}{os.urandom(6).hex()}{_PARTIAL}")
    try:
        staged.mkdir()
        with locked(staged / LOCK, wait_seconds=SHORT_WAIT_SECONDS):
            yield staged
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        message = f"no space left on the file system of `{path.parent}`"
        raise SpaceError(
            message, hint="free some space, or choose another place with `--output`"
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


class LayoutWriter:
    """The blobs of an image in a folder beside the place where it goes."""

    def __init__(self, output: Output, staged: Path, modified: int) -> None:
        self._output = output
        self._modified = modified
        self._staged = staged
        self._blobs = staged / "blobs" / "sha256"

    def has(self, digest: Digest) -> bool:
        """Whether a blob was added."""
        return (self._blobs / digest.hex).exists()

    def add(self, digest: Digest, path: Path) -> None:
        """Add a blob that lies somewhere, as a further name of it where that is possible."""
        place = self._blobs / digest.hex
        if place.exists():
            return
        if not self._output.is_tar:
            with suppress(OSError):
                os.link(path, place)
                return
        else:
            # It is only read, into the archive.
            place.symlink_to(path.absolute())
            return
        shutil.copyfile(path, place)

    def fill(self, digest: Digest, write: Callable[[IO[bytes]], None]) -> None:
        """Add a blob that something writes, which has seen to it that it is right."""
        place = self._blobs / digest.hex
        if not place.exists():
            with place.open("xb") as file:
                write(file)

    def make(self, write: Callable[[IO[bytes]], Layer]) -> Layer:
        """Add a layer that is made now."""
        made = self._staged / f"layer-{os.urandom(6).hex()}"
        with made.open("xb") as file:
            layer = write(file)
        made.replace(self._blobs / layer.digest.hex)
        return layer

    def document(self, item: Document) -> None:
        """Add a manifest or a configuration."""
        (self._blobs / item.digest.hex).write_bytes(item.content)

    def publish(self, manifest: dict[str, Any]) -> None:
        """Put the image in its place, with the descriptor of its manifest."""
        # Another bake may have put an image there meanwhile.
        self._output = look_at_output(self._output.path, self._output.tag)
        kept = list(self._output.kept)
        index = document(
            INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*kept, manifest]}
        )
        if self._output.is_tar:
            self._publish_tar(index)
        elif self._output.exists:
            self._publish_into(index)
        else:
            (self._staged / _LAYOUT).write_bytes(LAYOUT)
            (self._staged / _INDEX).write_bytes(index.content)
            (self._staged / LOCK).unlink()
            self._staged.chmod(0o755)
            self._staged.replace(self._output.path)
            sync_folder(self._output.path.parent)

    def _publish_tar(self, index: Document) -> None:
        made = self._staged / "image.tar"
        with made.open("xb") as file:
            for name in sorted(os.listdir(self._blobs)):  # noqa: PTH208 - names are enough
                path = self._blobs / name
                size = path.stat().st_size
                file.write(self._header(f"blobs/sha256/{name}", size))
                with path.open("rb") as source:
                    shutil.copyfileobj(source, file, _BLOCK_BYTES)
                file.write(bytes(-size % tarfile.BLOCKSIZE))
            for name, content in ((_INDEX, index.content), (_LAYOUT, LAYOUT)):
                file.write(self._header(name, len(content)) + content)
                file.write(bytes(-len(content) % tarfile.BLOCKSIZE))
            file.write(bytes(2 * tarfile.BLOCKSIZE))
            file.flush()
            os.fsync(file.fileno())
        made.replace(self._output.path)
        sync_folder(self._output.path.parent)

    def _header(self, name: str, size: int) -> bytes:
        info = tarfile.TarInfo(name)
        info.size, info.mtime = size, self._modified
        return info.tobuf(tarfile.PAX_FORMAT)

    def _publish_into(self, index: Document) -> None:
        """Add the blobs to a layout that is there; the index, which leads to them, comes last."""
        path = self._output.path
        blobs = path / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        for blob in self._blobs.iterdir():
            blob.replace(blobs / blob.name)
        for name, content in ((_LAYOUT, LAYOUT), (_INDEX, index.content)):
            staged = self._staged / name
            staged.write_bytes(content)
            staged.replace(path / name)
        sync_folder(path)
        self._remove_unused(blobs, index)

    def _remove_unused(self, blobs: Path, index: Document) -> None:
        """Remove the blobs of what was replaced that no image of the layout has any more."""
        with suppress(OSError, *DAMAGED):
            used = set(_reachable(blobs, json.loads(index.content)["manifests"]))
            gone = set(_reachable(blobs, self._output.replaced))
            for name in gone - used:
                (blobs / name).unlink(missing_ok=True)


def _reachable(blobs: Path, found: Any) -> Iterator[str]:  # noqa: ANN401 - JSON of anybody
    """The names of the blobs that descriptors lead to.

    Raises:
        OSError, ValueError, …: something cannot be read, so that nobody knows.
    """
    for item in found:
        digest = Digest.parse(str(item["digest"]).removeprefix("sha256:"))
        yield digest.hex
        if "manifest" in item["mediaType"] or "index" in item["mediaType"]:
            inside = json.loads((blobs / digest.hex).read_bytes())
            yield from _reachable(blobs, inside.get("manifests", ()))
            yield from _reachable(blobs, inside.get("layers", ()))
            yield from _reachable(blobs, [inside["config"]] if "config" in inside else ())


def tag_fault(tag: str) -> str | None:
    """What is wrong with a tag, by the rules of registries (OCI distribution specification)."""
    import re

    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", tag):
        return None
    return f"`{tag}` is no tag: letters, digits, `_`, `.` and `-`, at most 128 of them"
