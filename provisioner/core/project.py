"""What `pyproject.toml` says that gpuenv has to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from provisioner.core.other_tools import Elsewhere, read_elsewhere
from provisioner.errors import GpuenvError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Defined:
    """What a project defines; extras and dependency groups."""

    extras: frozenset[str]
    groups: frozenset[str]
    default_groups: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The parts of `pyproject.toml` that decide how a project is locked and installed.

    `is_managed` is whether uv may keep the lock of the project at all, `uses_uv` whether it is
    set up for that. `requires_python` is the bound on Python versions, as it is written.
    """

    name: str | None
    extras: frozenset[str]
    groups: frozenset[str]
    default_groups: frozenset[str]
    is_project: bool
    uses_uv: bool
    has_conflicts: bool
    is_package: bool
    workspace_members: tuple[str, ...] | None
    workspace_exclude: tuple[str, ...]
    dependencies: tuple[str, ...] = ()
    of_extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    of_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_managed: bool = True
    requires_python: str | None = None
    elsewhere: Elsewhere = field(default_factory=Elsewhere)

    @property
    def package_name(self) -> str | None:
        """What the package of the project is called."""
        named = self.elsewhere.name
        return self.name or (normalise(named) if named else None)

    @property
    def is_virtual_root(self) -> bool:
        """Whether it is the root of a workspace and no project itself."""
        return self.name is None and self.workspace_members is not None

    @property
    def defined(self) -> Defined:
        """The names that a profile's extras can match."""
        return Defined(extras=self.extras, groups=self.groups, default_groups=self.default_groups)

    def requirements(
        self, extras: Iterable[str], groups: Iterable[str], without: Iterable[str]
    ) -> tuple[str, ...]:
        """What the project itself asks for (PEP 508), as far as its file says it."""
        turned = dict.fromkeys([*sorted(self.default_groups - set(without)), *groups])
        named = [*self.dependencies]
        named += [text for name in extras for text in self.of_extras.get(name, ())]
        named += [text for name in turned for text in self.of_groups.get(name, ())]
        return tuple(dict.fromkeys(named))


def normalise(name: str) -> str:
    """A name as PEP 503, PEP 685 and PEP 735 compare it."""
    import re

    return re.sub(r"[-_.]+", "-", name).lower()


def read_manifest(
    data: Mapping[str, Any],
    origin: str,
    beside: Mapping[str, str] = _NOTHING,
    members: Iterable[Manifest] = (),
) -> Manifest:
    """Read `pyproject.toml`.

    `beside` are the texts of files in its folder that say more: `setup.cfg`, `setup.py`,
    `uv.toml`. `members` are those of the workspace of which it is a virtual root: uv turns on
    their extras and groups there.

    Raises:
        GpuenvError: a table is something else.
    """

    def table(*path: str) -> Mapping[str, Any]:
        value: Any = data
        for depth, key in enumerate(path, 1):
            value = value.get(key, {})
            if not isinstance(value, dict):
                message = f"`{origin}` is not valid"
                raise GpuenvError(
                    message,
                    causes=(f"`{'.'.join(path[:depth])}`: expected a table",),
                    code="project-invalid",
                )
        return value  # type: ignore[no-any-return]  # checked above

    uv = table("tool", "uv")
    workspace = table("tool", "uv", "workspace")
    elsewhere = read_elsewhere(data, beside.get("setup.cfg"), beside.get("setup.py"))
    members = tuple(members)
    groups = frozenset(map(normalise, table("dependency-groups"))).union(
        *(member.groups for member in members)
    )
    default = uv.get("default-groups", ["dev"])

    def texts(value: object, path: str) -> tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        message = f"`{origin}` is not valid"
        raise GpuenvError(
            message, causes=(f"`{path}`: expected a list of texts",), code="project-invalid"
        )

    name = table("project").get("name")
    package = uv.get("package")
    is_managed = uv.get("managed", True) is not False
    uses_uv = is_managed and ("uv" in table("tool") or "uv.toml" in beside)
    is_built = "build-system" in data or ("setup.py" in beside and not uses_uv)
    requires_python = table("project").get("requires-python")
    return Manifest(
        name=normalise(name) if isinstance(name, str) else None,
        extras=frozenset(map(normalise, table("project", "optional-dependencies"))).union(
            map(normalise, elsewhere.extras), *(member.extras for member in members)
        ),
        groups=groups,
        default_groups=groups
        if default == "all"
        else groups & frozenset(map(normalise, texts(default, "tool.uv.default-groups"))),
        is_project=bool(table("project") or groups or workspace or "build-system" in data),
        uses_uv=uses_uv,
        has_conflicts="conflicts" in uv,
        is_package=package if isinstance(package, bool) else is_built,
        workspace_members=texts(workspace.get("members", []), "tool.uv.workspace.members")
        if "workspace" in uv
        else None,
        workspace_exclude=texts(workspace.get("exclude", []), "tool.uv.workspace.exclude"),
        dependencies=_texts(table("project").get("dependencies")),
        of_extras={
            normalise(name): _texts(items)
            for name, items in table("project", "optional-dependencies").items()
        },
        of_groups={
            normalise(name): _group(name, table("dependency-groups"))
            for name in table("dependency-groups")
        },
        is_managed=is_managed,
        requires_python=requires_python if isinstance(requires_python, str) else None,
        elsewhere=elsewhere,
    )


def _texts(items: object) -> tuple[str, ...]:
    """The texts of a list; uv says what is wrong with the rest."""
    return tuple(item for item in items if isinstance(item, str)) if isinstance(items, list) else ()


def _group(name: str, groups: Mapping[str, Any], inside: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The requirements of a dependency group with those that it includes (PEP 735)."""
    key = normalise(name)
    items: Any = next((value for other, value in groups.items() if normalise(other) == key), [])
    if key in inside or not isinstance(items, list):
        return ()
    included = [
        item["include-group"]
        for item in items
        if isinstance(item, dict) and "include-group" in item
    ]
    return (
        *_texts(items),
        *(
            text
            for other in included
            if isinstance(other, str)
            for text in _group(other, groups, (*inside, key))
        ),
    )
