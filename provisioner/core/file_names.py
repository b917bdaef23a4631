"""What the file names of wheels and source distributions say."""

from __future__ import annotations

import re
from typing import Final

from provisioner.core.project import normalise

_LEADING: Final = re.compile(r"(.+?)-\d")


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
