"""Where a project is, and what its files say."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import GpuenvError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from provisioner.core.project import Manifest


_MOST_FOLDERS: Final = 1000
_BESIDE: Final = ("setup.cfg", "setup.py", "uv.toml")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The folder that is provisioned.

    `folder` has the project's `pyproject.toml`; without a project it is the current folder
    and `manifest` is None. `home` is where `.venv`, `.gpuenv` and `uv.lock` belong: the root
    of the workspace, where the project is a member of one.
    """

    folder: Path
    home: Path
    manifest: Manifest | None

    @property
    def uv_lock(self) -> Path:
        """Where uv keeps the lock."""
        return self.home / "uv.lock"


def find_folder(start: Path, *, named: bool) -> tuple[Path, bool]:
    """The nearest folder upwards with a `pyproject.toml`, and whether there is one.

    Raises:
        UsageError: `start` was named by the user and is no folder.
    """
    if named and start.suffix == ".py" and start.is_file():
        message = f"`{start}` is a script, and gpuenv provisions projects"
        raise UsageError(
            message,
            causes=("inline metadata of scripts (PEP 723) is not read",),
            hint=f"`uv run {start}` runs it",
        )
    if named and not start.is_dir():
        message = f"`{start}` is not a folder"
        raise UsageError(message)
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file():
            return folder, True
    return start, False


def find_home(folder: Path, *, is_project: bool) -> Path:
    """Where the state of a project is; its files are read only where that cannot be told.

    A member of a workspace that was prepared has a pointer to the workspace's root.
    """
    pointer = folder / ".gpuenv" / "home"
    if pointer.is_file():
        text = pointer.read_text(encoding="utf-8", errors="replace").strip()
        home = Path(os.path.normpath(folder / text))
        if text and (home / "pyproject.toml").is_file():
            return home
    elif not is_project or (folder / ".gpuenv").is_dir():
        return folder
    return read_place(folder, is_project=True).home


def read_place(folder: Path, *, is_project: bool) -> Place:
    """Read the project's `pyproject.toml` and find the root of its workspace.

    Raises:
        GpuenvError: a `pyproject.toml` is not valid.
    """
    if not is_project:
        return Place(folder=folder, home=folder, manifest=None)
    manifest = load_manifest(folder)
    if fault := manifest.elsewhere.fault:
        message = f"`{folder / 'pyproject.toml'}` cannot be read in full"
        raise GpuenvError(
            message,
            causes=(fault,),
            hint="a `[project]` table with `dependencies` is read by every tool",
            code="project-unsupported",
        )
    if not (manifest.is_project or (folder / "setup.py").exists()):
        path = folder / "pyproject.toml"
        message = f"`{path}` describes no project"
        raise GpuenvError(
            message,
            causes=("it has no `[project]` table, no `[dependency-groups]` and no workspace",),
            code="project-invalid",
        )
    if manifest.is_virtual_root:
        members = map(load_manifest, _member_folders(folder, manifest))
        manifest = _read_manifest(folder, members)
    return Place(folder=folder, home=_workspace(folder, manifest), manifest=manifest)


def load_manifest(folder: Path) -> Manifest:
    """Read one `pyproject.toml`.

    Raises:
        GpuenvError: it is not valid.
    """
    return _read_manifest(folder)


def _read_manifest(folder: Path, members: Iterable[Manifest] = ()) -> Manifest:
    from provisioner.core.project import read_manifest

    beside = {}
    for name in _BESIDE:
        # What cannot be read says nothing here; whoever needs it says why.
        with suppress(OSError):
            beside[name] = (folder / name).read_text(encoding="utf-8", errors="replace")
    return read_manifest(_read(folder), str(folder / "pyproject.toml"), beside, members)


def _member_folders(root: Path, manifest: Manifest) -> Iterator[Path]:
    """The folders of a workspace's members; what is wrong with one, uv says."""
    for pattern in manifest.workspace_members or ():
        with suppress(ValueError, NotImplementedError):
            for folder in sorted(root.glob(pattern)):
                inside = folder.relative_to(root).parts
                excluded = any(_matches(inside, other) for other in manifest.workspace_exclude)
                if not excluded and (folder / "pyproject.toml").is_file():
                    yield folder


def workspace_files(place: Place) -> Iterator[Path]:
    """What tells that a workspace got, or lost, a member, or that one needs something else.

    The folder of the root itself changes with every switch, so that members right in it are
    not noticed when they come.
    """
    if place.manifest is None:
        return
    root = place.home
    manifest = place.manifest if root == place.folder else load_manifest(root)
    for folder in _member_folders(root, manifest):
        yield folder / "pyproject.toml"
    for pattern in manifest.workspace_members or ():
        above = Path(pattern).parts[:-1]
        plain = (*above, "**").index("**")  # What lies at any depth would be too much to watch.
        for depth in range(1, plain + 1):
            with suppress(ValueError, NotImplementedError):
                yield from (path for path in root.glob("/".join(above[:depth])) if path != root)


def names_in(folder: Path) -> frozenset[str]:
    """The names of the files in a folder; none where it cannot be read."""
    with suppress(OSError):
        return frozenset(path.name for path in folder.iterdir() if path.is_file())
    return frozenset()


def uv_tables(place: Place) -> tuple[Mapping[str, Any], ...]:
    """`[tool.uv]` of a project, and then of the root of its workspace."""
    folders = dict.fromkeys((place.folder, place.home)) if place.manifest else {}
    return tuple(_read(folder).get("tool", {}).get("uv", {}) for folder in folders)


def manifests_around(place: Place) -> tuple[Mapping[str, Any], ...]:
    """The `pyproject.toml` of a project, its workspace, its members and all local sources.

    Each of them may name indexes and URLs of its own. What cannot be read names none.
    """
    found: dict[Path, Mapping[str, Any]] = {}
    todo = [place.folder, place.home]
    while todo and len(found) < _MOST_FOLDERS:
        folder = Path(os.path.normpath(todo.pop(0)))
        if folder in found:
            continue
        try:
            data = _read(folder)
        except (OSError, GpuenvError):
            continue
        found[folder] = data
        uv = _dict(_dict(data, "tool"), "uv")
        members = _dict(uv, "workspace").get("members")
        for pattern in members if isinstance(members, list) else ():
            with suppress(ValueError, NotImplementedError):
                todo += folder.glob(str(pattern))
        for value in _dict(uv, "sources").values():
            for source in value if isinstance(value, list) else [value]:
                path = source.get("path") if isinstance(source, dict) else None
                todo += [folder / path] if isinstance(path, str) else []
    return tuple(found.values())


def _dict(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _read(folder: Path) -> dict[str, Any]:
    import tomllib

    path = folder / "pyproject.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"`{path}` is not valid"
        raise GpuenvError(message, causes=(str(error),), code="project-invalid") from error


def _workspace(folder: Path, manifest: Manifest) -> Path:
    """The root of the uv workspace that a project is a member of, or the project itself.

    As uv looks for it: the nearest project upwards decides; patterns match whole segments.
    """
    if manifest.workspace_members is not None:
        return folder
    for parent in folder.parents:
        if not (parent / "pyproject.toml").is_file():
            continue
        root = load_manifest(parent)
        if root.workspace_members is None:
            if root.name is None:
                continue
            return folder
        inside = folder.relative_to(parent).parts
        member = any(_matches(inside, pattern) for pattern in root.workspace_members)
        excluded = any(_matches(inside, pattern) for pattern in root.workspace_exclude)
        return parent if member and not excluded else folder
    return folder


def _matches(parts: tuple[str, ...], pattern: str) -> bool:
    """Whether a glob with `/` and `**` matches a path, segment by segment."""
    from fnmatch import fnmatchcase

    wanted = tuple(part for part in pattern.split("/") if part not in {"", "."})
    if not wanted:
        return not parts
    if wanted[0] == "**":
        rest = "/".join(wanted[1:])
        return any(_matches(parts[start:], rest) for start in range(len(parts) + 1))
    return (
        bool(parts)
        and fnmatchcase(parts[0], wanted[0])
        and _matches(parts[1:], "/".join(wanted[1:]))
    )
