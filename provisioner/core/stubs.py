"""Source distributions that only stand for a wheel of another index, and which wheel that is.

The build of such a stub downloads a wheel and does nothing else, unseen and from the first byte
each time. As `wheel-stub` 0.3.0 to 0.5.0 and `nvidia-stub` 0.1.0 to 0.1.8 on PyPI have it
(`wheel_stub/wheel.py`, `nvidia_stub/wheel.py`; read in November 2026):

- The page is `<index>/<normalised name>/`. `wheel-stub` takes the index from
  `WHEEL_STUB_PIP_INDEX_URL`, else from `[tool.wheel_stub.extra]` or `[tool.wheel_stub]` in
  `pyproject.toml`; `nvidia-stub` from `NVIDIA_PIP_INDEX_URL`, else NVIDIA's.
- Of that page the first wheel of exactly the version is taken that fits its own idea of tags.
- `stub_only` makes a stub that always fails, with a text for whoever installs it.
- There is no hook for metadata, so that whoever wants these has to download the wheel.

`tensorrt-cu12-libs` is one up to 10.3.0 by `nvidia-stub` (without a folder in its archive), and
by `wheel-stub` since, with 0.6 to 15.5 KB.
"""

from __future__ import annotations

import json
import re
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from provisioner.core.digest import Digest
from provisioner.core.file_names import release_of
from provisioner.core.plan import LockedFile, Substitution
from provisioner.core.urls import file_name, is_remote, without_secrets
from provisioner.errors import LockError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from packaging.tags import Tag

    from provisioner.core.simple_index import ListedFile

STUB_BYTES: Final = 64 << 10
"""A larger source distribution is no stub: the largest known one has 15.5 KB."""

_NVIDIA: Final = "https://pypi.nvidia.com"
_VARIABLES: Final = {
    "wheel_stub.buildapi": "WHEEL_STUB_PIP_INDEX_URL",
    "nvidia_stub.buildapi": "NVIDIA_PIP_INDEX_URL",
}
VARIABLES: Final = tuple(_VARIABLES.values())
"""Those that name the index of stubs."""

_SHOWN: Final = 8
_PACKAGE: Final = "[[packages]]\n"
_SDIST: Final = re.compile(r"^sdist = \{.*\}\n", re.MULTILINE)
_INDEX: Final = re.compile(r"^index = .*\n", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stub:
    """What a stub says: a release, the index that has its wheels, and what builds it.

    `index` ends with a slash, and has no secrets: `urllib`, which builds ask with, takes none.
    """

    name: str
    version: str
    index: str
    requires: tuple[str, ...]

    @property
    def page(self) -> str:
        """The page of the project, as the build itself asks for it."""
        return f"{self.index}{self.name}/"


def indexes_in(variables: Mapping[str, str]) -> tuple[str, ...]:
    """The indexes that the user's variables give to stubs."""
    return tuple(variables[name] for name in _VARIABLES.values() if is_remote(variables.get(name)))


def may_be_stub(name: str, size: int | None) -> bool:
    """Whether a file may be a stub, by its name and size in bytes."""
    return name.endswith((".tar.gz", ".zip")) and (size is None or size <= STUB_BYTES)


def read_stub(pyproject: bytes, name: str, variables: Mapping[str, str]) -> Stub | None:
    """What a source distribution stands for, by its `pyproject.toml` and file name.

    None for one that is no stub, and for a stub that could never be built.
    """
    try:
        # A RecursionError is what brackets within brackets make of tomllib.
        data: Any = tomllib.loads(pyproject.decode())
    except (ValueError, RecursionError):
        return None
    system = _table(data, "build-system")
    backend, release = system.get("build-backend"), release_of(name)
    if not isinstance(backend, str) or backend not in _VARIABLES or "backend-path" in system:
        return None
    if release is None:
        return None
    index: Any = _NVIDIA
    if backend == "wheel_stub.buildapi":
        own = _table(data, "tool", "wheel_stub")
        own = {**own, **_table(own, "extra")}
        if own.get("stub_only"):
            return None
        index = own.get("index_url")
    index = variables.get(_VARIABLES[backend]) or index
    if not (isinstance(index, str) and is_remote(index)):
        return None
    needs = system.get("requires")
    requires = _requirements(needs) if isinstance(needs, list) else ()
    package, version = release
    shown = f"{without_secrets(index).rstrip('/')}/"
    return Stub(name=package, version=version, index=shown, requires=requires)


def _requirements(needs: Iterable[object]) -> tuple[str, ...]:
    """What is a requirement (PEP 508): anything else could be an option of whoever reads it."""
    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    for need in needs:
        with suppress(InvalidRequirement):
            found.append(str(Requirement(str(need))))
    return tuple(found)


def wheels_of(stub: Stub, listed: Iterable[ListedFile]) -> tuple[ListedFile, ...]:
    """The wheels of exactly the stub's release; yanked ones where there are no others."""
    every = [
        file
        for file in listed
        if file.name.endswith(".whl") and release_of(file.name) == (stub.name, stub.version)
    ]
    return tuple(file for file in every if file.yanked is None) or tuple(every)


def best_wheel(wheels: Iterable[ListedFile], tags: Sequence[Tag]) -> ListedFile | None:
    """The wheel that fits a target best: by its tags, best first, then by its build number."""
    from packaging.utils import parse_wheel_filename

    ranks = {tag: rank for rank, tag in enumerate(reversed(tags))}
    found = []
    for wheel in wheels:
        _, _, build, own = parse_wheel_filename(wheel.name)
        rank = max((ranks[tag] for tag in own if tag in ranks), default=None)
        if rank is not None:
            found.append(((rank, build), wheel))
    # The first of equals, as the page has them.
    return max(found, key=lambda item: item[0])[1] if found else None


def no_wheel(stub: Stub, listed: Sequence[ListedFile], tags: Sequence[Tag]) -> LockError:
    """The index has no wheel of the release, or none for the target."""
    own = wheels_of(stub, listed)
    causes: tuple[str, ...]
    if own:
        causes = (
            f"the index has it for {_some(sorted({_tags_of(wheel.name) for wheel in own}))}",
            *(f"the best tag that the target takes is `{tag}`" for tag in tags[:1]),
        )
    else:
        named = (release_of(file.name) for file in listed if file.name.endswith(".whl"))
        versions = {release[1] for release in named if release and release[0] == stub.name}
        causes = (
            f"its wheels are of {_some(_newest(versions))}"
            if versions
            else f"`{stub.page}` lists no wheel",
        )
    return LockError(
        f"`{stub.name}` {stub.version} stands for a wheel that {stub.index} does not have"
        + (" for the target" if own else ""),
        causes=causes,
        code="lock-unsupported",
    )


def without_stubs(
    lock: str, wheels_for: Callable[[LockedFile], tuple[LockedFile, ...]]
) -> tuple[str, tuple[Substitution, ...]]:
    """A lock that uv resolved, with wheels in the place of stub source distributions.

    `wheels_for` tells what one stands for: nothing, or wheels of one index for all targets.
    """
    head, *blocks = lock.split(_PACKAGE)
    made = [_without_stub(block, wheels_for) for block in blocks]
    replaced = tuple(one for _, found in made for one in found)
    return _PACKAGE.join([head, *(block for block, _ in made)]), replaced


def _without_stub(
    block: str, wheels_for: Callable[[LockedFile], tuple[LockedFile, ...]]
) -> tuple[str, tuple[Substitution, ...]]:
    data = tomllib.loads(block)
    sdist = data.get("sdist", {})
    url, sha256 = sdist.get("url"), sdist.get("hashes", {}).get("sha256")
    if "wheels" in data or not is_remote(url) or not isinstance(sha256, str):
        return block, ()
    size, index = sdist.get("size"), data.get("index")
    digest = Digest.parse(sha256)
    stub = LockedFile(name=file_name(url), url=url, digest=digest, size=size, index=index)
    wheels = wheels_for(stub)
    if not wheels:
        return block, ()
    lines = "".join(f"    {_wheel_line(wheel)},\n" for wheel in wheels)
    block = _SDIST.sub(lambda _: f"wheels = [\n{lines}]\n", block, count=1)
    block = f"index = {json.dumps(wheels[0].index)}\n{_INDEX.sub('', block, count=1)}"
    return block, tuple(Substitution(stub=stub, wheel=wheel) for wheel in wheels)


def _wheel_line(wheel: LockedFile) -> str:
    size = f"size = {wheel.size}, " if wheel.size is not None else ""
    return f'{{ url = {json.dumps(wheel.key)}, {size}hashes = {{ sha256 = "{wheel.digest}" }} }}'


def _table(data: Any, *keys: str) -> dict[str, Any]:  # noqa: ANN401 - as TOML has it
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def _tags_of(name: str) -> str:
    return "-".join(name.removesuffix(".whl").rsplit("-", 3)[1:])


def _newest(versions: Iterable[str]) -> list[str]:
    from packaging.version import Version

    return sorted(versions, key=Version, reverse=True)


def _some(values: Iterable[str]) -> str:
    every = [f"`{value}`" for value in values]
    more = len(every) - _SHOWN
    return ", ".join([*every[:_SHOWN], *([f"{more} more"] if more > 0 else [])])
