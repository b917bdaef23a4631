"""A profile: one CUDA line that a host may run, read from YAML and checked as a whole."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from provisioner.core.project import normalise
from provisioner.core.urls import without_secrets
from provisioner.core.version import DottedVersion
from provisioner.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T")

SCHEMA: Final = 1
NEEDS: Final = ("driver", "cuda", "compute-capability")

CONTROL: Final = re.compile(
    r"[\w-]+(=(\w+|\"[^\"\r\n]*\"))?( *, *[\w-]+(=(\w+|\"[^\"\r\n]*\"))?)*", re.ASCII
)
"""The directives of a `Cache-Control` (RFC 9111, section 5.2)."""

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_PATTERN = re.compile(r"[A-Za-z0-9._*-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheControl:
    """How long answers of an index may be reused, in uv's terms; None: as the server says."""

    api: str | None = None
    files: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """A package index, which packages come only from it, and its policy, for them alone.

    `origin` is where that is written, in words.
    """

    name: str
    url: str
    packages: tuple[str, ...] = ()
    cache_control: CacheControl = field(default_factory=CacheControl)
    origin: str = field(default="", compare=False)

    def claims(self, package: str | None) -> bool:
        """Whether a package (by its normalised name) is one of `packages`."""
        return package is not None and any(
            fnmatchcase(package, normalise(pattern)) for pattern in self.packages
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What a CUDA line needs, turns on and installs. `cuda` is None for the CPU."""

    name: str
    cuda: DottedVersion | None
    needs: tuple[tuple[str, str], ...] = ()
    extras: tuple[str, ...] = ()
    requirements: tuple[str, ...] | None = None
    indexes: tuple[Index, ...] = ()
    origin: str = ""


def is_profile(data: object) -> bool:
    """Whether a YAML file means to be a profile; a folder `profiles/` may be another tool's."""
    return isinstance(data, dict) and ("schema" in data or "cuda" in data)


def read_profile(data: Mapping[str, Any], origin: str) -> Profile:
    """Check and read one profile.

    Raises:
        ProfileError: it is not valid; every fault with the path to its key.
    """
    reader = _Reader(data)
    profile = reader.profile(origin)
    if reader.faults:
        message = f"profile `{origin}` is not valid"
        raise ProfileError(message, causes=tuple(reader.faults))
    return profile


class _Reader:
    """Collects every fault instead of stopping at the first."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.faults: list[str] = []

    def profile(self, origin: str) -> Profile:
        known = ("schema", "name", "cuda", "needs", "extras", "requirements", "indexes")
        self._unknown(self.data, known, "")
        if self.data.get("schema") != SCHEMA:
            self._fault("schema", f"expected {SCHEMA}, got {_shown(self.data.get('schema'))}")
        return Profile(
            name=self._text(self.data, "name", "name", _checked_name),
            cuda=self._cuda(),
            needs=self._needs(),
            extras=self._texts("extras", self.data, _checked_name_like),
            requirements=self._texts("requirements", self.data, _checked_requirement)
            if "requirements" in self.data
            else None,
            indexes=tuple(
                self._index(item, f"indexes[{position}]", origin)
                for position, item in enumerate(self._list(self.data, "indexes", "indexes"))
            ),
            origin=origin,
        )

    def _cuda(self) -> DottedVersion | None:
        if "cuda" not in self.data:
            self._fault("cuda", "missing; `cuda: null` means the CPU")
            return None
        value = self.data["cuda"]
        if value is None:
            return None
        if not isinstance(value, str):
            # YAML reads 12.10 as the number 12.1, so that only texts can be trusted.
            self._fault("cuda", f'expected a quoted text such as "12", got {_shown(value)}')
            return None
        return self._checked("cuda", value, DottedVersion.parse)

    def _needs(self) -> tuple[tuple[str, str], ...]:
        value = self.data.get("needs", {})
        if not isinstance(value, dict):
            self._fault("needs", f"expected a mapping, got {_shown(value)}")
            return ()
        self._unknown(value, NEEDS, "needs.")
        return tuple(
            (key, self._text(value, key, f"needs.{key}", _checked_specifier))
            for key in NEEDS
            if key in value
        )

    def _index(self, data: object, path: str, origin: str) -> Index:
        if not isinstance(data, dict):
            self._fault(path, f"expected a mapping, got {_shown(data)}")
            return Index(name="", url="")
        self._unknown(data, ("name", "url", "packages", "cache-control"), f"{path}.")
        control = data.get("cache-control", {})
        if not isinstance(control, dict):
            self._fault(f"{path}.cache-control", f"expected a mapping, got {_shown(control)}")
            control = {}
        self._unknown(control, ("api", "files"), f"{path}.cache-control.")
        terms = {
            key: self._text(control, key, f"{path}.cache-control.{key}", _checked_control)
            for key in ("api", "files")
            if key in control
        }
        return Index(
            name=self._text(data, "name", f"{path}.name", _checked_name),
            url=self._text(data, "url", f"{path}.url", _checked_url),
            packages=self._texts("packages", data, _checked_pattern, f"{path}.packages"),
            cache_control=CacheControl(**terms),
            origin=f"profile `{self.data.get('name')}` ({origin})",
        )

    def _text(
        self, data: Mapping[str, Any], key: str, path: str, check: Callable[[str], str]
    ) -> str:
        value = data.get(key)
        if not isinstance(value, str):
            missing = key not in data
            self._fault(path, "missing" if missing else f"expected a text, got {_shown(value)}")
            return ""
        return self._checked(path, value, check) or ""

    def _texts(
        self, key: str, data: Mapping[str, Any], check: Callable[[str], str], path: str = ""
    ) -> tuple[str, ...]:
        path = path or key
        texts = []
        for position, value in enumerate(self._list(data, key, path)):
            where = f"{path}[{position}]"
            if isinstance(value, str):
                texts.append(self._checked(where, value, check) or "")
            else:
                self._fault(where, f"expected a text, got {_shown(value)}")
        return tuple(texts)

    def _list(self, data: Mapping[str, Any], key: str, path: str) -> list[Any]:
        value = data.get(key, [])
        if isinstance(value, list):
            return value
        self._fault(path, f"expected a list, got {_shown(value)}")
        return []

    def _checked(self, path: str, value: str, check: Callable[[str], _T]) -> _T | None:
        try:
            return check(value)
        except ValueError as error:
            self._fault(path, str(error))
            return None

    def _unknown(self, data: Mapping[str, Any], known: tuple[str, ...], prefix: str) -> None:
        for key in data:
            if key not in known:
                names = ", ".join(f"`{name}`" for name in known)
                self._fault(f"{prefix}{key}", f"unknown key, known are {names}")

    def _fault(self, path: str, words: str) -> None:
        self.faults.append(f"`{path}`: {words}")


def _shown(value: object) -> str:
    return "null" if value is None else f"`{value}` ({type(value).__name__})"


def _checked_name(text: str) -> str:
    if not NAME.fullmatch(text):
        message = f"`{text}` does not match `{NAME.pattern}`"
        raise ValueError(message)
    return text


def _checked_name_like(text: str) -> str:
    from packaging.utils import InvalidName, canonicalize_name

    try:
        return canonicalize_name(text, validate=True)
    except InvalidName:
        message = f"`{text}` is not the name of an extra or dependency group"
        raise ValueError(message) from None


def _checked_requirement(text: str) -> str:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return str(Requirement(text))
    except InvalidRequirement as error:
        first = str(error).splitlines()[0]
        message = f"`{text}` is not a requirement (PEP 508): {first}"
        raise ValueError(message) from None


def _checked_specifier(text: str) -> str:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return str(SpecifierSet(text))
    except InvalidSpecifier:
        message = f"`{text}` is not a version specifier (PEP 440) such as `>=535`"
        raise ValueError(message) from None


def _checked_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https", "file"} or not (parts.netloc or parts.path):
        message = f"`{without_secrets(text)}` is not an http, https or file URL"
        raise ValueError(message)
    return text


def _checked_control(text: str) -> str:
    if not CONTROL.fullmatch(text):
        message = f"`{text}` is not a `Cache-Control` such as `max-age=600`"
        raise ValueError(message)
    return text


def _checked_pattern(text: str) -> str:
    if not _PATTERN.fullmatch(text):
        message = f"`{text}` is not a package name or pattern such as `tensorrt*`"
        raise ValueError(message)
    return text
