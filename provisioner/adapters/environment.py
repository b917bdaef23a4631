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

    from provisioner.core.drift import Difference
    from provisioner.core.history import Prepared

_FOLDER: Final = "envs"
_INFO: Final = ".dist-info"
_ANCHOR: Final = "_gpuenv"
_ABOUT_PYTHON: Final = """
import os, platform, sysconfig
print(platform.python_version())
print(os.path.realpath(sysconfig.get_path("purelib")))
"""
_ANCHOR_LINE: Final = f"import {_ANCHOR}; {_ANCHOR}.pin()\n"
"""Makes a process keep the environment it started in, whatever `.venv` points to later.

The module (`_anchor.py` here) is compiled once, which a longer line would be at every start.
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


def python_stamp(environment: Path) -> list[int] | None:
    """Size and modification time (nanoseconds) of the program that an environment's Python is.

    None where there is none.
    """
    try:
        found = (environment / "bin" / "python").stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def python_fault(environment: Path) -> str | None:
    """Why an environment's Python cannot run what is installed there, if so.

    The program belongs to the machine, which may have removed or upgraded it. Another one than
    the environment was made with is asked where it looks for packages: a new patch release
    looks in the same place, and does.
    """
    program = os.path.realpath(environment / "bin" / "python")
    now = python_stamp(environment)
    if now is None:
        return f"its Python, `{program}`, is gone"
    if stamp(environment) is None:
        return None  # Something made it anew, for a Python of its own: it was changed.
    try:
        known = (read_json(_mark(environment)) or {}).get("python")
    except DAMAGED:
        known = None
    return None if known in (None, now) else _misfit(environment, program)


def _misfit(environment: Path, program: str) -> str | None:
    import subprocess

    try:
        said = subprocess.run(
            [environment / "bin" / "python", "-I", "-c", _ABOUT_PYTHON],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        version, place = said.splitlines()
    except (OSError, subprocess.SubprocessError, ValueError):
        return f"its Python, `{program}`, does not start"
    made_for = os.path.realpath(environment / "gpuenv-site")
    if place == made_for:
        return None
    places = [os.path.relpath(each, os.path.realpath(environment)) for each in (place, made_for)]
    return f"`{program}` is Python {version} now: it looks in `{places[0]}`, not in `{places[1]}`"


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


def finish(
    environment: Path, facts: Mapping[str, Any], link: Path | None = None
) -> tuple[int, int]:
    """Make a new environment ready, mark it as ours, and stamp it.

    The folder for byte code is made now, or else the first start of Python in it would look
    like a change; `gpuenv-site` spares the stamp a search. The mark lies beside it, with
    `facts` about its origin. A shell that activates it follows `link`, the project's `.venv`.

    Raises:
        GpuenvError: it has no `site-packages`.
    """
    site = next(environment.glob("lib/python*/site-packages"), None)
    if site is None:
        message = f"`{environment}` is not an environment"
        raise GpuenvError(message)
    (site / "__pycache__").mkdir(exist_ok=True)
    anchor = Path(__file__).with_name("_anchor.py")
    (site / f"{_ANCHOR}.py").write_bytes(anchor.read_bytes())
    (site / f"{_ANCHOR}.pth").write_text(_ANCHOR_LINE, encoding="ascii")
    if link and os.pathsep not in str(link):  # `PATH` could not hold it.
        _lead_shells(environment, link)
    (environment / "gpuenv-site").symlink_to(site.relative_to(environment))
    told = {**facts, "packages": packages_of(environment)}
    write_whole(_mark(environment), json.dumps(told, indent=1) + "\n")
    made = stamp(environment)
    if made is None:
        raise AssertionError
    return made


def packages_of(environment: Path) -> dict[str, str]:
    """The version of each package that is installed, by the names of `.dist-info` folders.

    `python` is among them, as the environment was made for it.
    """
    from provisioner.core.project import normalise

    # What another tool has made anew has no link.
    sites = [environment / "gpuenv-site", *environment.glob("lib/python*/site-packages")]
    site = next((path for path in sites if path.is_dir()), None)
    names = os.listdir(site) if site else []  # noqa: PTH208 - names are enough
    told = (name.removesuffix(_INFO).rpartition("-") for name in names if name.endswith(_INFO))
    return _python_of(environment) | {normalise(name): version for name, _, version in told if name}


def _python_of(environment: Path) -> dict[str, str]:
    """The version of Python that an environment was made for, as its `pyvenv.cfg` tells it.

    uv writes `version_info`, and `venv` of the standard library `version`.
    """
    try:
        lines = (environment / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    told = {name.strip(): value.strip() for name, _, value in (one.partition("=") for one in lines)}
    version = told.get("version_info") or told.get("version")
    return {"python": version} if version else {}


def changes_of(environment: Path) -> tuple[Difference, ...]:
    """Which packages came, went or changed since an environment was made.

    Nothing where that is not known, and where one was installed again in the same version.
    """
    from provisioner.core.drift import differences

    try:
        known = read_json(_mark(environment))["packages"]
    except DAMAGED:
        return ()
    return differences(known, packages_of(environment)) if isinstance(known, dict) else ()


def drift_of(prepared: Prepared) -> str:
    """What is wrong with an environment that is not intact, in words."""
    from provisioner.core.drift import drift_text

    environment = Path(prepared.environment)
    if not environment.is_dir():
        return "is gone"
    found = drift_text(changes_of(environment))
    return "was changed" + (f": {found}" if found else "")


def _lead_shells(environment: Path, link: Path) -> None:
    """Let the scripts of uv that activate an environment name the link in its place."""
    was, now = (
        # As uv quotes it for every shell (`'` closes, stands in `"`, and opens again).
        b"'%b'" % os.fsencode(path).replace(b"'", b"'\"'\"'")
        for path in (environment, link)
    )
    for script in environment.glob("bin/activate*"):
        text = script.read_bytes()
        if was in text:
            script.write_bytes(text.replace(was, now))


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


def made_for(environment: Path) -> Path | None:
    """The folder of the project that an environment was made for; None where it is not ours."""
    try:
        told = read_json(_mark(environment))["project"]
    except DAMAGED:
        return None
    return Path(told) if environment.parent.name == _FOLDER and isinstance(told, str) else None


def discard(environment: Path) -> None:
    """Remove an environment of a store that never became active, and its mark."""
    import shutil

    if environment.parent.name != _FOLDER:
        return
    # First of all, since what has a mark counts as whole.
    _mark(environment).unlink(missing_ok=True)
    shutil.rmtree(environment, ignore_errors=True)


def _mark(environment: Path) -> Path:
    return environment.with_name(f"{environment.name}.json")
