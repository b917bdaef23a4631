"""`layers/` of the store: compressed layers, so that none is compressed twice.

A layer is named by its hash; a small note, named by what the layer is made from, leads to it.
The note's modification time is when the layer was last used.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Final

from provisioner.adapters._files import (
    DAMAGED,
    no_space,
    read_json,
    sync_folder,
    unless_read_only,
    write_whole,
)
from provisioner.core.digest import Digest
from provisioner.core.oci import Layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FOLDER: Final = "layers"
_SUFFIX: Final = ".json"
_KEY: Final = re.compile(r"[0-9a-f]{64}")


class LayerCache:
    """The layers of a store, here and in the stores below."""

    def __init__(self, root: Path, lower: tuple[Path, ...] = ()) -> None:
        self.folder = root / FOLDER
        self._below = tuple(store / FOLDER for store in lower)

    def find(self, key: str, name: str) -> tuple[Layer, Path] | None:
        """The layer that was made from what a key stands for, and where it lies."""
        for folder in (self.folder, *self._below):
            note = folder / f"{key}{_SUFFIX}"
            with suppress(OSError, *DAMAGED):
                data = read_json(note)
                layer = Layer(
                    digest=Digest.parse(data["digest"]),
                    diff_id=Digest.parse(data["diff_id"]),
                    size=int(data["size"]),
                    media_type=str(data["media_type"]),
                    created_by=name,
                )
                path = folder / layer.digest.hex
                found = path.lstat()
                if (found.st_size, found.st_mtime_ns) == (layer.size, data["written"]):
                    with unless_read_only():
                        os.utime(note)
                    return layer, path
        return None

    def keep(self, key: str, make: Callable[[IO[bytes]], Layer]) -> tuple[Layer, Path]:
        """Make a layer and keep it; it is there whole, or not at all.

        Raises:
            SpaceError: the file system is full.
        """
        self.folder.mkdir(exist_ok=True)
        with self._staged() as (staged, file):
            layer = make(file)
            file.flush()
            os.fsync(file.fileno())
            staged.chmod(0o444)
            path = self.folder / layer.digest.hex
            staged.replace(path)
            sync_folder(self.folder)
            note = {
                "digest": layer.digest.hex,
                "diff_id": layer.diff_id.hex,
                "size": layer.size,
                "media_type": layer.media_type,
                # One that something has written to since is made again.
                "written": path.lstat().st_mtime_ns,
            }
            self.note(key, note)
        return layer, path

    def note(self, key: str, data: dict[str, Any]) -> None:
        """Keep what is known of something under a key.

        Raises:
            SpaceError: the file system is full.
        """
        self.folder.mkdir(exist_ok=True)
        write_whole(self.folder / f"{key}{_SUFFIX}", json.dumps(data), flushed=False)

    def noted(self, key: str) -> Any:  # noqa: ANN401 - JSON, which the caller checks
        """What was kept under a key; None for nothing that can be read."""
        for folder in (self.folder, *self._below):
            with suppress(OSError, ValueError):
                found = read_json(folder / f"{key}{_SUFFIX}")
                if found is not None:
                    with unless_read_only():
                        os.utime(folder / f"{key}{_SUFFIX}")
                    return found
        return None

    @contextmanager
    def _staged(self) -> Iterator[tuple[Path, IO[bytes]]]:
        staged = self.folder / f".layer.{os.urandom(6).hex()}"
        try:
            with staged.open("xb") as file:
                yield staged, file
        except OSError as error:
            raise no_space(error, staged) from error
        finally:
            staged.unlink(missing_ok=True)


def notes_in(root: Path) -> Iterator[tuple[Path, Digest | None]]:
    """The notes in a store, and the layer that each leads to; None where it leads to none."""
    for path in sorted((root / FOLDER).glob(f"[!.]*{_SUFFIX}")):
        digest = None
        with suppress(OSError, *DAMAGED):
            digest = Digest.parse(read_json(path)["digest"])
        yield path, digest


def layers_in(root: Path) -> Iterator[tuple[Digest, Path]]:
    """The layers in a store."""
    for path in sorted((root / FOLDER).glob("[0-9a-f]*")):
        if _KEY.fullmatch(path.name):
            yield Digest(path.name), path
