"""The packages of a lock (PEP 751), as far as judging what is in them goes."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from provisioner.core.project import normalise
from provisioner.errors import LockError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provisioner.core.interpreter import Interpreter

_TORCH_HOST: Final = re.compile(r"(?:^|\.)pytorch\.org$")
_TORCH_LOCAL: Final = re.compile(r"cu[0-9]{2,}|cpu|xpu|rocm[0-9.]+")
_TORCH_PATH: Final = re.compile(r"/whl/(?:test/|nightly/)?([a-z]+[0-9.]*)(?:/|$)")
_LAST_PATCH: Final = 99
_PLAIN_LINUX: Final = re.compile(r"-linux_\w+\.whl$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A package of a lock: its wheels by file name, and whether it can be built from source.

    `urls` are where it comes from: its index, and its files.
    """

    name: str
    version: str | None = None
    urls: tuple[str, ...] = ()
    wheels: tuple[str, ...] = ()
    sdist: bool = False

    @property
    def torch_label(self) -> str | None:
        """The label of the PyTorch index that it is from (`cu128`, `cpu`), if it is from one."""
        local = (self.version or "").partition("+")[2]
        if _TORCH_LOCAL.fullmatch(local):
            return local
        return next(filter(None, map(torch_index, self.urls)), None)

    @property
    def of_pytorch(self) -> bool:
        """Whether it is one of PyTorch's own builds of `torch`, as far as can be told.

        That is one of PyTorch's indexes, or with such an index's local version (`+cu128`),
        wherever it is mirrored, or one of any other index, which is taken for PyPI or a mirror
        of it. PyTorch publishes no source distribution, and PyPI takes no wheel for plain
        `linux_*`.
        """
        if self.sdist and not self.wheels:
            return False
        if local := (self.version or "").partition("+")[2]:
            return _TORCH_LOCAL.fullmatch(local) is not None
        return bool(self.torch_label) or not any(map(_PLAIN_LINUX.search, self.wheels))


@dataclass(frozen=True, kw_only=True, slots=True)
class Locked:
    """What a lock has: its packages, and the Pythons that it is for."""

    packages: tuple[Package, ...]
    requires_python: str | None = None

    def takes(self, interpreter: Interpreter) -> bool:
        """Whether it is for a Python; a range that cannot be read takes every one.

        Of a Python without a patch version any will do.
        """
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        try:
            specifier = SpecifierSet(self.requires_python or "")
        except InvalidSpecifier:
            return True
        version = interpreter.version
        patched = version.count(".") > 1
        known = (version,) if patched else (f"{version}.0", f"{version}.{_LAST_PATCH}")
        return any(specifier.contains(item, prereleases=True) for item in known)


def torch_index(url: str) -> str | None:
    """The label of an index of PyTorch's, such as `cu128`, by an address at or below it."""
    parts = urlsplit(url)
    found = _TORCH_PATH.search(parts.path)
    return found[1] if found and _TORCH_HOST.search(parts.hostname or "") else None


def read_locked(
    text: str, environment: Mapping[str, str] | None = None, origin: str = "pylock.toml"
) -> Locked:
    """Read a lock, without the packages whose marker is false in `environment`.

    It reads what it needs and lets everything else pass: whether the lock is valid is found
    out where its files are chosen. Without an environment every package counts.

    Raises:
        LockError: it is no TOML.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"lock `{origin}` is malformed"
        raise LockError(message, causes=(str(error),), code="lock-malformed") from error
    packages = data.get("packages")
    found = packages if isinstance(packages, list) else []
    python = data.get("requires-python")
    return Locked(
        requires_python=python if isinstance(python, str) else None,
        packages=tuple(
            _package(item)
            for item in found
            if isinstance(item, dict)
            and isinstance(item.get("name"), str)
            and _counts(item.get("marker"), environment)
        ),
    )


def _package(data: Mapping[str, Any]) -> Package:
    wheels = list(_dicts(data.get("wheels")))
    archive = data.get("archive")
    files = [*wheels, *(item for item in (data.get("sdist"), archive) if isinstance(item, dict))]
    names = [_file_name(item) for item in wheels]
    if isinstance(archive, dict) and (name := _file_name(archive)) and name.endswith(".whl"):
        names.append(name)
    version = data.get("version")
    index = data.get("index")
    urls = (index, *(item.get("url") for item in files))
    return Package(
        name=normalise(data["name"]),
        version=version if isinstance(version, str) else None,
        urls=tuple(url for url in urls if isinstance(url, str)),
        wheels=tuple(name for name in names if name),
        sdist=any(isinstance(data.get(key), dict) for key in ("sdist", "vcs", "directory"))
        or (isinstance(archive, dict) and not names),
    )


def _dicts(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def _file_name(item: Mapping[str, Any]) -> str | None:
    for key in ("name", "url", "path"):
        value = item.get(key)
        if isinstance(value, str) and value:
            return unquote(urlsplit(value).path if key == "url" else value).rpartition("/")[2]
    return None


def _counts(marker: object, environment: Mapping[str, str] | None) -> bool:
    """Whether a package is for an environment; one whose marker cannot be read is."""
    if environment is None or not isinstance(marker, str):
        return True
    from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName

    try:
        return Marker(marker).evaluate(dict(environment), context="lock_file")
    except (InvalidMarker, UndefinedEnvironmentName):
        return True
