"""Whether a wheel or source distribution is what its file name says."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from packaging.version import Version

WHEEL_ENDING: Final = ".whl"
SOURCE_ENDINGS: Final = (".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")

_INFO: Final = ".dist-info"
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_SHOWN: Final = 5


class _Named(NamedTuple):
    """A project and a version, as something names them; None for what it does not tell."""

    name: str | None
    version: str | None


def info_folders(members: Iterable[str]) -> tuple[str, ...]:
    """The `.dist-info` folders at the top of a wheel."""
    tops = (member.partition("/")[0] for member in members if "/" in member)
    return tuple(sorted({top for top in tops if top.endswith(_INFO)}))


def wheel_faults(file_name: str, members: Sequence[str], metadata: bytes | None) -> tuple[str, ...]:
    """What is wrong with a wheel, as causes; none where it is as it has to be.

    `members` are the names in its central directory as they stand there, `metadata` is the
    file `METADATA` of its one `.dist-info` folder. The rules are those of PEP 427 as pip and
    uv apply them: the folder has to be of the project, of any version; a local version may
    be missing in the metadata.
    """
    faults = list(_member_faults(members))
    folders = info_folders(members)
    if len(folders) != 1:
        found = ", ".join(f"`{_printable(folder)}`" for folder in folders) or "none"
        return (*faults, f"a wheel has one `{_INFO}` folder, this one has {found}")
    (folder,) = folders
    told = _parsed(metadata) if metadata is not None else None
    expected = _of_wheel(file_name)
    shown = f"`{_printable(folder)}/METADATA`"
    if told is None:
        faults.append(f"{shown} is missing")
    elif expected:
        faults += _differences(shown, told, [expected])
        project = folder.removesuffix(_INFO).partition("-")[0]
        if not _is_same_name(project, expected.name):
            faults.append(
                f"its folder is `{_printable(folder)}`, its file name says `{expected.name}`"
            )
    return tuple(faults)


def source_faults(file_name: str, metadata: bytes | None) -> tuple[str, ...]:
    """What is wrong with a source distribution, as causes.

    `metadata` is its `PKG-INFO`. Without one nothing is judged: archives of repositories
    are installed too, and have none.
    """
    stem = _without_ending(file_name)
    expected = [
        _Named(stem[: dash.start()], stem[dash.end() :])
        for dash in re.finditer("-", stem)
        if _version(stem[dash.end() :]) is not None
    ]
    if metadata is None or not expected:
        return ()
    return tuple(_differences("`PKG-INFO`", _parsed(metadata), expected))


def _member_faults(members: Sequence[str]) -> Iterator[str]:
    """Names that would lead somewhere else, or mean two things."""
    # Two entries of one folder cannot differ.
    counted = Counter(member for member in members if not member.endswith("/"))
    bad = [
        *(
            f"the member `{_printable(member)}` {why}"
            for member in dict.fromkeys(members)
            if (why := _why_unsafe(member))
        ),
        *(
            f"the member `{_printable(member)}` is there {count} times"
            for member, count in counted.items()
            if count > 1
        ),
    ]
    yield from bad[:_SHOWN]
    if len(bad) > _SHOWN:
        yield f"and {len(bad) - _SHOWN} more of its members"


def _why_unsafe(member: str) -> str | None:
    if not member or "\0" in member:
        return "has no proper name"
    if member.startswith("/") or _DRIVE.match(member):
        return "is an absolute path"
    if "\\" in member:
        return "has a backslash in its name"
    if ".." in member.split("/"):
        return "leads out of the archive"
    return None


def _differences(shown: str, told: _Named, expected: Sequence[_Named]) -> Iterator[str]:
    """Both values of each mismatch; a file name may be read in several ways."""
    if any(
        _is_same_name(told.name, one.name) and _is_same_version(told.version, one.version)
        for one in expected
    ):
        return
    # The first dash before a version is where a name ends, unless the metadata says otherwise.
    best = next((one for one in expected if _is_same_name(told.name, one.name)), expected[0])
    if not _is_same_name(told.name, best.name):
        yield f"{shown} names `{_printable(told.name)}`, its file name `{best.name}`"
    if not _is_same_version(told.version, best.version):
        yield f"{shown} has version `{_printable(told.version)}`, its file name `{best.version}`"


def _of_wheel(file_name: str) -> _Named | None:
    """What the file name of a wheel says; None where it is no proper one."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        name, version, _, _ = parse_wheel_filename(file_name)
    except InvalidWheelFilename:
        return None
    return _Named(name, str(version))


def _without_ending(file_name: str) -> str:
    for ending in SOURCE_ENDINGS:
        if file_name.lower().endswith(ending):
            return file_name[: -len(ending)]
    return file_name


def _parsed(metadata: bytes) -> _Named:
    from packaging.metadata import parse_email

    raw, _ = parse_email(metadata)
    return _Named(raw.get("name"), raw.get("version"))


def _is_same_name(one: str | None, other: str | None) -> bool:
    from packaging.utils import canonicalize_name

    if one is None or other is None:
        return False
    return canonicalize_name(one) == canonicalize_name(other)


def _is_same_version(told: str | None, expected: str | None) -> bool:
    found, wanted = _version(told), _version(expected)
    if found is None or wanted is None:
        return False
    return found == wanted or str(found) == wanted.public


def _version(text: str | None) -> Version | None:
    from packaging.version import InvalidVersion, Version

    try:
        return None if text is None else Version(text)
    except InvalidVersion:
        return None


def _printable(text: str | None) -> str:
    return "nothing" if text is None else ascii(text)[1:-1]
