"""The folder that a Dockerfile is built in, with wheels as further names of blobs."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.errors import GpuenvError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DOCKERFILE: Final = "Dockerfile"
_LIBRARY: Final = "installer"


def may_be_replaced(path: Path, marker: str) -> bool:
    """Whether a folder is not there, is empty, or has a Dockerfile that begins with a marker."""
    if not os.path.lexists(path):
        return True
    if not path.is_dir():
        return False
    with suppress(OSError, UnicodeDecodeError):
        return (path / _DOCKERFILE).read_text(encoding="utf-8").startswith(marker)
    return not any(path.iterdir())


def write_context(staged: Path, texts: Mapping[str, str], wheels: Mapping[str, Path]) -> None:
    """Fill a folder: texts by their names, and wheels by the paths that they are to have in it.

    A blob gets a further name where the file system can, else it is copied.

    Raises:
        OSError: it cannot be written.
    """
    for name in (*texts, *wheels):
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        (staged / name).parent.chmod(0o755)
    for name, text in texts.items():
        (staged / name).write_text(text, encoding="utf-8")
        (staged / name).chmod(0o755 if text.startswith("#!") else 0o644)
    for name, path in wheels.items():
        place = staged / name
        try:
            place.hardlink_to(path)
        except OSError:
            shutil.copyfile(path, place)


def write_library(folder: Path) -> None:
    """Copy the library that unpacks wheels, with its licence, and without what is for Windows.

    Raises:
        GpuenvError: it is not installed as a package.
    """
    try:
        found = files(_LIBRARY) or []
    except PackageNotFoundError as error:
        message = f"`{_LIBRARY}`, which gpuenv needs, is not installed as a package"
        raise GpuenvError(message, hint="`pip install installer`", code="broken") from error
    for item in found:
        is_module = item.parts[0] == _LIBRARY and item.suffix == ".py"
        is_licence = item.parts[0].endswith(".dist-info") and "licen" in item.name.lower()
        if is_module or is_licence:
            place = folder / (Path(*item.parts[1:]) if is_module else Path(item.name))
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(item.locate()), place)
            place.chmod(0o644)
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)


def publish(staged: Path, path: Path) -> None:
    """Put a folder in the place of another one, which is removed."""
    if os.path.lexists(path):
        old = staged.with_name(f"{staged.name}.old.partial")
        path.rename(old)
        staged.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    else:
        staged.rename(path)
