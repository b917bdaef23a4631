"""A wheel made again from what an installer has put into an environment (PEP 376, 427)."""

from __future__ import annotations

import posixpath
import re
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from dataclasses import dataclass, field, replace
from email.parser import HeaderParser
from itertools import product
from typing import TYPE_CHECKING, Final

from provisioner.core.archives import WHEEL_ENDING
from provisioner.core.project import normalise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from email.message import Message

RECORD: Final = "RECORD"
INFO: Final = ".dist-info"

_OF_INSTALLERS: Final = frozenset(
    {"INSTALLER", "REQUESTED", "direct_url.json", RECORD, "RECORD.jws", "RECORD.p7s"}
)
_OF_UV: Final = "uv_"  # `uv_cache.json`, `uv_build.json`
_SITE: Final = re.compile(r"lib(?:64)?/[^/]+/site-packages/(.+)")
_HEADER: Final = re.compile(r"include/site/[^/]+/([^/]+)/(.+)")
_SCRIPT: Final = "bin/"
_PARTS: Final = 3  # Python, ABI and platform.
_COMMANDS: Final = ("console_scripts", "gui_scripts")


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """What an environment tells of a distribution, the texts as they are in its `.dist-info`.

    `site` is the folder that the `paths` of the `RECORD` are relative to, below the
    environment, and `info` the name of the `.dist-info` folder in it. `hashes` are what the
    `RECORD` says of the `paths`, as `sha256=…`.
    """

    site: str
    info: str
    paths: tuple[str, ...]
    metadata: str
    wheel: str
    entry_points: str
    hashes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A file of a wheel, and where it lies below the environment.

    The first line of a script may name the environment's Python. `told` is its hash as it was
    installed, empty where nothing tells.
    """

    name: str
    source: str
    told: str = ""
    is_script: bool = False


def wheel_name(installed: Installed) -> str:
    """The file name of the wheel that a distribution was installed from.

    Raises:
        ValueError: its metadata does not tell.
    """
    from packaging.utils import canonicalize_name
    from packaging.version import Version

    told, wheel = _headers(installed.metadata), _headers(installed.wheel)
    name = canonicalize_name(told.get("Name", ""), validate=True).replace("-", "_")
    version = str(Version(told.get("Version", "")))
    build = [wheel["Build"]] if wheel.get("Build") else []
    tags = _together(wheel.get_all("Tag", []))
    return f"{'-'.join((name, version, *build, tags))}{WHEEL_ENDING}"


def members(installed: Installed) -> tuple[Member, ...]:
    """The files of the wheel but its `RECORD`, its metadata last.

    Scripts of entry points are left out: every installer makes them anew.

    Raises:
        ValueError: a file lies outside of the environment.
    """
    commands = _commands(installed.entry_points)
    package = normalise(_headers(installed.metadata).get("Name", ""))
    found: dict[str, Member] = {}
    for path in installed.paths:
        source = posixpath.normpath(posixpath.join(installed.site, path))
        if source in {".", ".."} or source.startswith(("../", "/")):
            message = f"`{path}` lies outside of the environment"
            raise ValueError(message)
        member = _member(source, installed.info, package, commands)
        if member is not None:
            told = installed.hashes.get(path, "")
            found.setdefault(member.name, replace(member, told=told))
    of_info = f"{installed.info}/"
    every = sorted(found.values(), key=lambda item: (item.name.startswith(of_info), item.name))
    return tuple(every)


def portable(head: bytes, environments: Iterable[str]) -> bytes:
    """The beginning of a script with `#!python` for the Python of an environment.

    A path that is too long for the kernel, or has spaces, stands in a line for a shell. The
    environment may be known by several paths.
    """
    places = b"|".join(re.escape(item.encode()) for item in environments)
    own = rb"(?:" + places + rb")/bin/pythonw?[0-9.]*"
    line = rb"#!" + own + rb"[ \t]*\r?\n"
    shell = rb"#!/bin/sh\n'''exec' [\"']?" + own + rb"[\"']? \"\$0\" \"\$@\"\n' '''\n"
    return re.sub(rb"\A(?:" + line + rb"|" + shell + rb")", b"#!python\n", head, count=1)


def _member(source: str, info: str, package: str, commands: frozenset[str]) -> Member | None:
    """Where a file belongs in the wheel; None for one that an installer makes."""
    if "__pycache__" in source.split("/"):
        return None
    data = f"{info.removesuffix(INFO)}.data"
    if inside := _SITE.fullmatch(source):
        folder, _, name = inside[1].partition("/")
        made = folder == info and (name in _OF_INSTALLERS or name.startswith(_OF_UV))
        return None if made else Member(name=inside[1], source=source)
    if source.startswith(_SCRIPT):
        name = source.removeprefix(_SCRIPT)
        if name in commands:
            return None
        return Member(name=f"{data}/scripts/{name}", source=source, is_script=True)
    header = _HEADER.fullmatch(source)
    if header and normalise(header[1]) == package:
        return Member(name=f"{data}/headers/{header[2]}", source=source)
    return Member(name=f"{data}/data/{source}", source=source)


def _headers(text: str) -> Message:
    return HeaderParser().parsestr(text)


def _commands(text: str) -> frozenset[str]:
    """The names of the scripts of entry points."""
    parser = ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except ConfigParserError:
        return frozenset()
    return frozenset(
        name for group in _COMMANDS if parser.has_section(group) for name in parser[group]
    )


def _together(tags: Iterable[str]) -> str:
    """Tags as one compressed set (PEP 425).

    Raises:
        ValueError: there are none, or no set stands for these alone.
    """
    split = {tuple(tag.split("-")) for tag in tags}
    parts = [sorted(set(values)) for values in zip(*split, strict=False)]
    if len(parts) != _PARTS or set(product(*parts)) != split:
        shown = ", ".join(sorted("-".join(tag) for tag in split)) or "none"
        message = f"its tags are no compressed set: {shown}"
        raise ValueError(message)
    return "-".join(".".join(values) for values in parts)
