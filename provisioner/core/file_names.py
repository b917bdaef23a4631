"""What the file names of wheels and source distributions say."""

from __future__ import annotations

import re
from typing import Final

from provisioner.core.archives import SOURCE_ENDINGS, WHEEL_ENDING
from provisioner.core.project import normalise

_LEADING: Final = re.compile(r"(.+?)-\d")
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
_PROJECT: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_MOST: Final = 255  # The bytes of a name on the common file systems.


def release_of(name: str) -> tuple[str, str] | None:
    """Package and version of a file, normalised; None for what is not named as it should be."""
    from packaging.utils import (
        InvalidSdistFilename,
        InvalidWheelFilename,
        parse_sdist_filename,
        parse_wheel_filename,
    )

    try:
        if name.endswith(".whl"):
            package, version, *_ = parse_wheel_filename(name)
        else:
            package, version = parse_sdist_filename(name)
    except (InvalidSdistFilename, InvalidWheelFilename):
        return None
    return package, str(version)


def package_of(name: str) -> str | None:
    """The package of a file, normalised; old and odd names are read as well as they can be."""
    if release := release_of(name):
        return release[0]
    found = _LEADING.match(name)
    return normalise(found[1]) if found else None


def project_of(name: str) -> str | None:
    """The project, normalised, in whose folder a file of this name may lie.

    None for a name that is not that of a package's file, or that could lead anywhere else:
    names come from URLs.
    """
    if len(name) > _MOST or not _PLAIN.fullmatch(name):
        return None
    release = release_of(name)
    if release is None and (name.endswith(WHEEL_ENDING) or not name.endswith(SOURCE_ENDINGS)):
        return None
    project = release[0] if release else package_of(name)
    return project if project and _PROJECT.fullmatch(project) else None
