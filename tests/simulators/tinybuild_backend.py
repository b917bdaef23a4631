"""The build backend ``tinybuild``, and the wheel writer that the simulators share.

``make_tinybuild`` ships this file as ``tinybuild/__init__.py``, so it imports
nothing beyond the standard library and nothing from this package.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import os
import re
import stat
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__version__ = "1.0"

_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class CoreMetadata:
    """The part of a distribution's core metadata that the simulators use."""

    name: str
    version: str
    requires: Sequence[str] = ()
    extras: Mapping[str, Sequence[str]] = field(default_factory=dict)
    requires_python: str | None = None

    @property
    def escaped(self) -> str:
        """The name as it stands in file names and as a module name."""
        return re.sub(r"[-_.]+", "_", self.name).lower()

    def render(self) -> bytes:
        """Return the metadata as the text of METADATA or PKG-INFO."""
        lines = ["Metadata-Version: 2.1", f"Name: {self.name}", f"Version: {self.version}"]
        if self.requires_python is not None:
            lines.append(f"Requires-Python: {self.requires_python}")
        lines += [f"Requires-Dist: {requirement}" for requirement in self.requires]
        for extra, requirements in self.extras.items():
            lines.append(f"Provides-Extra: {extra}")
            lines += [f"Requires-Dist: {_for_extra(line, extra)}" for line in requirements]
        return ("\n".join(lines) + "\n").encode()


def _for_extra(requirement: str, extra: str) -> str:
    target, _, marker = requirement.partition(";")
    condition = f'extra == "{extra}"'
    if marker.strip():
        condition = f"({marker.strip()}) and {condition}"
    return f"{target.strip()} ; {condition}"


def write_wheel(
    folder: Path,
    metadata: CoreMetadata,
    entries: Iterable[tuple[str, int, Iterable[bytes]]],
    *,
    tag: str = "py3-none-any",
) -> Path:
    """Write a wheel whose bytes depend on the arguments alone.

    Args:
        folder: Where the wheel goes; made if missing.
        metadata: What METADATA says.
        entries: Path, size and content (in blocks) of every file but the
            dist-info ones.
        tag: The compatibility tag, dots and all.

    Returns:
        The path of the wheel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{metadata.escaped}-{metadata.version}"
    info = f"{stem}.dist-info"
    path = folder / f"{stem}-{tag}.whl"
    record: list[str] = []
    # Stored, not deflated: another zlib would give other bytes.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, size, blocks in entries:
            _add(archive, name, size, blocks, record)
        _add_bytes(archive, f"{info}/METADATA", metadata.render(), record)
        _add_bytes(archive, f"{info}/WHEEL", _wheel_file(tag), record)
        record.append(f"{info}/RECORD,,")
        _add_bytes(archive, f"{info}/RECORD", ("\n".join(record) + "\n").encode(), [])
    return path


def _wheel_file(tag: str) -> bytes:
    pythons, abis, platforms = (part.split(".") for part in tag.split("-"))
    tags = [f"{python}-{abi}-{where}" for python in pythons for abi in abis for where in platforms]
    pure = "true" if platforms == ["any"] else "false"
    lines = ["Wheel-Version: 1.0", "Generator: tinybuild", f"Root-Is-Purelib: {pure}"]
    return ("\n".join(lines + [f"Tag: {each}" for each in tags]) + "\n").encode()


def _add_bytes(archive: zipfile.ZipFile, name: str, content: bytes, record: list[str]) -> None:
    _add(archive, name, len(content), [content], record)


def _add(
    archive: zipfile.ZipFile,
    name: str,
    size: int,
    blocks: Iterable[bytes],
    record: list[str],
) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    # Fixed, as zipfile otherwise writes the number of the system it runs on.
    entry.create_system = 3
    # Known beforehand, so that zipfile can choose the 64-bit form.
    entry.file_size = size
    digest = hashlib.sha256()
    with archive.open(entry, "w") as target:
        for block in blocks:
            digest.update(block)
            target.write(block)
    text = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
    record.append(f"{name},sha256={text},{size}")


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write a .tar.gz whose bytes depend on the arguments alone."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as target:
        _write_stored_gzip(target, plain.getvalue())
    return path


def _write_stored_gzip(target: IO[bytes], content: bytes) -> None:
    # Imported here, for few callers make archives.
    import gzip

    with gzip.GzipFile("", "wb", compresslevel=0, fileobj=target, mtime=0) as packed:
        packed.write(content)


@dataclass(frozen=True)
class _Project:
    root: Path
    metadata: CoreMetadata
    dynamic_requires: tuple[str, ...]


def _read_project() -> _Project:
    # PEP 517: a front end calls the hooks in the root of the source tree.
    root = Path.cwd()
    document = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    project: dict[str, Any] = document["project"]
    own: dict[str, Any] = document.get("tool", {}).get("tinybuild", {})
    metadata = CoreMetadata(
        name=project["name"],
        version=project["version"],
        requires=(*project.get("dependencies", ()), *own.get("dependencies", ())),
        extras={
            **project.get("optional-dependencies", {}),
            **own.get("optional-dependencies", {}),
        },
        requires_python=project.get("requires-python"),
    )
    return _Project(root, metadata, tuple(own.get("dynamic-requires", ())))


def _module_files(project: _Project) -> Iterator[tuple[str, bytes]]:
    source = project.root / "src"
    if source.is_dir():
        base, found = source, sorted(source.rglob("*"))
    else:
        base = project.root
        module = base / project.metadata.escaped
        found = sorted(module.rglob("*")) if module.is_dir() else [module.with_suffix(".py")]
    for path in found:
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(base).as_posix(), path.read_bytes()


def _start_build(hook: str) -> _Project:
    project = _read_project()
    for requirement in project.dynamic_requires:
        name = re.match(r"[\w.-]+", requirement)
        if name is not None and ";" not in requirement:
            # Raises PackageNotFoundError where the front end skipped it.
            importlib.metadata.distribution(name.group())
    log = os.environ.get("TINYBUILD_LOG")
    if log:
        with Path(log).open("a", encoding="utf-8") as target:
            target.write(f"{hook} {project.metadata.name} {project.metadata.version}\n")
    return project


def get_requires_for_build_wheel(config_settings: object = None) -> list[str]:
    """Return the dynamic build requirements (PEP 517)."""
    del config_settings
    return list(_read_project().dynamic_requires)


def get_requires_for_build_editable(config_settings: object = None) -> list[str]:
    """Return the dynamic build requirements (PEP 660)."""
    return get_requires_for_build_wheel(config_settings)


def build_wheel(
    wheel_directory: str,
    config_settings: object = None,
    metadata_directory: str | None = None,
) -> str:
    """Build a wheel of the project (PEP 517)."""
    del config_settings, metadata_directory
    project = _start_build("build_wheel")
    entries = [(name, len(content), [content]) for name, content in _module_files(project)]
    return write_wheel(Path(wheel_directory), project.metadata, entries).name


def build_editable(
    wheel_directory: str,
    config_settings: object = None,
    metadata_directory: str | None = None,
) -> str:
    """Build a wheel that holds only a path to the sources (PEP 660)."""
    del config_settings, metadata_directory
    project = _start_build("build_editable")
    source = project.root / "src"
    content = f"{source if source.is_dir() else project.root}\n".encode()
    entry = (f"__editable__.{project.metadata.escaped}.pth", len(content), [content])
    return write_wheel(Path(wheel_directory), project.metadata, [entry]).name


def build_sdist(sdist_directory: str, config_settings: object = None) -> str:
    """Build a source distribution of the project (PEP 517)."""
    del config_settings
    project = _read_project()
    stem = f"{project.metadata.escaped}-{project.metadata.version}"
    prefix = f"{stem}/src" if (project.root / "src").is_dir() else stem
    files = {
        f"{stem}/PKG-INFO": project.metadata.render(),
        f"{stem}/pyproject.toml": (project.root / "pyproject.toml").read_bytes(),
    }
    files.update({f"{prefix}/{name}": content for name, content in _module_files(project)})
    return write_tar(Path(sdist_directory) / f"{stem}.tar.gz", files).name
