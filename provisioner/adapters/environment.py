"""An environment in the store: whether it is ours, and whether anything changed it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters._files import DAMAGED, read_json, write_whole
from provisioner.errors import GpuenvError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.core.history import Prepared

_FOLDER: Final = "envs"
_ANCHOR: Final = (
    "import os, sys; "
    "sys.path[:] = [os.path.realpath(p) if p.endswith('site-packages') else p for p in sys.path]\n"
    "import os, sys; exec('try:\\n import fcntl, time\\n "
    'fd = os.open(os.path.realpath(sys.prefix) + ".json", os.O_RDONLY)\\n '
    "for _ in range(20):\\n  "
    "try:\\n   fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)\\n   break\\n  "
    "except BlockingIOError: time.sleep(0.01)\\nexcept Exception: pass')\n"
)
"""Makes a process keep the environment it started in, whatever `.venv` points to later.

It also holds a shared lock on the mark as long as it runs, so that `store gc` can tell, which
holds the lock itself for the moment in which it looks.
"""


def stamp(environment: Path) -> tuple[int, int] | None:
    """What changes when something installs or removes packages; None where nothing is there.

    The inode and modification time (nanoseconds) of `site-packages`: every installer adds
    and removes a `.dist-info` folder there. One stat.
    """
    try:
        found = (environment / "gpuenv-site").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def note_use(environment: Path) -> None:
    """Note that an environment is used, where that can be written.

    `store gc` goes by it where it cannot see the project.
    """
    with suppress(OSError):
        os.utime(_mark(environment))


def is_intact(prepared: Prepared) -> bool:
    """Whether nothing has changed an environment since it was made. One stat."""
    return stamp(Path(prepared.environment)) == prepared.stamp


def is_outdated(prepared: Prepared) -> bool:
    """Whether the lock is another one now than the one that an environment was made from."""
    lock = Path(prepared.recipe["lock"])
    if lock_stamp(lock) == prepared.recipe["lock_stamp"]:
        return False
    made_from: str = prepared.recipe["lock_hash"]
    return file_hash(lock) != made_from


def lock_stamp(lock: Path) -> list[int]:
    """Size and modification time (nanoseconds) of a lock, which spare hashing it."""
    try:
        found = lock.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def file_hash(path: Path) -> str:
    """The SHA-256 of a small file; empty where there is none."""
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def finish(environment: Path, facts: Mapping[str, Any]) -> tuple[int, int]:
    """Make a new environment ready, mark it as ours, and stamp it.

    The folder for byte code is made now, or else the first start of Python in it would look
    like a change; `gpuenv-site` spares the stamp a search. The mark lies beside it, with
    `facts` about its origin.

    Raises:
        GpuenvError: it has no `site-packages`.
    """
    site = next(environment.glob("lib/python*/site-packages"), None)
    if site is None:
        message = f"`{environment}` is not an environment"
        raise GpuenvError(message)
    (site / "__pycache__").mkdir(exist_ok=True)
    (site / "_gpuenv.pth").write_text(_ANCHOR, encoding="utf-8")
    (environment / "gpuenv-site").symlink_to(site.relative_to(environment))
    write_whole(_mark(environment), json.dumps(dict(facts), indent=1) + "\n")
    made = stamp(environment)
    if made is None:
        raise AssertionError
    return made


def built_wheels(environment: Path) -> list[dict[str, Any]]:
    """What the mark of an environment tells of wheels that were built for it."""
    try:
        found = read_json(_mark(environment)).get("built", [])
    except DAMAGED:
        return []
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def is_ours(environment: Path) -> bool:
    """Whether gpuenv made an environment, in whatever store."""
    return environment.parent.name == _FOLDER and _mark(environment).is_file()


def discard(environment: Path) -> None:
    """Remove an environment of a store that never became active, and its mark."""
    import shutil

    if environment.parent.name != _FOLDER:
        return
    shutil.rmtree(environment, ignore_errors=True)
    _mark(environment).unlink(missing_ok=True)


def _mark(environment: Path) -> Path:
    return environment.with_name(f"{environment.name}.json")
