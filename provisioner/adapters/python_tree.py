"""A Python that uv has installed, as the files of an image.

Such a Python (python-build-standalone) runs wherever it lies. uv writes the folder that it lies in
into some of its texts (uv's documentation of managed Pythons, "sysconfig"); an image has its own
place there.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.core.image_tree import FILE_MODE, PROGRAM_MODE, Entry, link

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PYTHONS: Final = "/opt/python"
"""Where they lie in an image."""

_TEXT_BYTES: Final = 4 << 20
_BYTE_CODE: Final = "__pycache__"


@dataclass(frozen=True, slots=True)
class PythonTree:
    """The folder of a Python, and the path of the interpreter in it."""

    folder: Path
    inside: str

    @property
    def name(self) -> str:
        """As uv calls it: implementation, version and platform."""
        return self.folder.name

    @property
    def place(self) -> str:
        """Where it lies in an image."""
        return f"{PYTHONS}/{self.name}"

    @property
    def program(self) -> str:
        """The interpreter in an image."""
        return f"{self.place}/{self.inside}"

    def facts(self) -> Mapping[str, object]:
        """What tells on this machine that it is as it was: names, sizes and times."""
        hasher = hashlib.sha256()
        for path, found in self._files():
            told = (path, found.st_mode, found.st_size, found.st_mtime_ns)
            hasher.update(repr(told).encode())
        return {"python": self.name, "files": hasher.hexdigest()}

    def entries(self) -> Iterator[Entry]:
        """Its files and links, without byte code.

        Raises:
            OSError: one cannot be read.
        """
        own = str(self.folder).encode()
        for path, found in self._files():
            real = f"{self.folder}/{path}"
            place = f"{self.place}/{path}"
            if stat.S_ISLNK(found.st_mode):
                target = os.readlink(real)  # noqa: PTH115 - as above, and as it is written
                yield link(place, target.replace(str(self.folder), self.place))
                continue
            mode = PROGRAM_MODE if found.st_mode & 0o111 else FILE_MODE
            changed = self._text(real, found.st_size, own)
            if changed is None:
                source = (real, found.st_size)
                yield Entry(place.strip("/"), "file", mode, source=source)
            else:
                yield Entry(place.strip("/"), "file", mode, data=changed)

    def _text(self, path: str, size: int, own: bytes) -> bytes | None:
        """A text that names the folder, with its place in the image; None for any other file."""
        if size > _TEXT_BYTES:
            return None
        with open(path, "rb") as file:  # noqa: PTH123 - there are thousands
            content = file.read()
        if own not in content or b"\0" in content:
            return None
        return content.replace(own, self.place.encode())

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Files and links by their paths, in an order that is the same everywhere."""
        root = str(self.folder)
        for folder, names, files in os.walk(root):
            names[:] = sorted(name for name in names if name != _BYTE_CODE)
            links = [name for name in names if os.path.islink(f"{folder}/{name}")]  # noqa: PTH114
            for name in sorted([*files, *links]):
                real = f"{folder}/{name}"
                found = os.lstat(real)
                if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
                    yield real[len(root) + 1 :], found


def python_tree(program: Path, pythons: Path, version: str) -> PythonTree | None:
    """The Python that an interpreter belongs to, if it lies among those that uv has installed."""
    real, above = program.resolve(), pythons.resolve()
    if above not in real.parents:
        return None
    folder = above / real.relative_to(above).parts[0]
    inside = f"bin/python{version}"
    return PythonTree(folder, inside) if (folder / inside).is_file() else None
