"""Valid wheels and source distributions, made in an instant, equal every time."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

from . import tinybuild_backend, wheelstub_backend
from .tinybuild_backend import CoreMetadata, write_tar, write_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_BLOCK = 1 << 20


def make_wheel(  # noqa: PLR0913 - all but three are optional
    folder: Path,
    name: str,
    version: str,
    *,
    tag: str = "py3-none-any",
    requires: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
    size: int = 0,
    extras: Mapping[str, Sequence[str]] | None = None,
    requires_python: str | None = None,
) -> Path:
    """Make a wheel with a module that knows its ``__version__``.

    Args:
        folder: Where the wheel goes; made if missing.
        name: The distribution's name; the module's is its escaped form.
        version: A version in its normal form.
        tag: The compatibility tag.
        requires: Requirement strings of the distribution itself.
        files: Further files, by path in the wheel. The module's
            ``__init__.py`` can be replaced so.
        size: Bytes of incompressible padding, the same for the same name,
            version and tag.
        extras: Requirement strings by extra.
        requires_python: The Python versions allowed, if any are excluded.

    Returns:
        The path of the wheel.
    """
    metadata = CoreMetadata(name, version, requires, extras or {}, requires_python)
    module = f"{metadata.escaped}/__init__.py"
    contents = {module: f'__version__ = "{version}"\n'.encode(), **(files or {})}
    entries: list[tuple[str, int, Iterator[bytes]]] = [
        (path, len(content), iter([content])) for path, content in contents.items()
    ]
    if size:
        noise = _noise(f"{metadata.escaped} {version} {tag}", size)
        entries.append((f"{metadata.escaped}/padding.bin", size, noise))
    return write_wheel(folder, metadata, entries, tag=tag)


def _noise(seed: str, size: int) -> Iterator[bytes]:
    source = random.Random(seed)  # noqa: S311 - padding, not a secret
    for start in range(0, size, _BLOCK):
        yield source.randbytes(min(_BLOCK, size - start))


def make_sdist(  # noqa: PLR0913 - all but three are optional
    folder: Path,
    name: str,
    version: str,
    *,
    build_requires: Sequence[str] = (),
    dynamic_requires: Sequence[str] = (),
    backend: str = "tinybuild",
    requires: Sequence[str] = (),
    extras: Mapping[str, Sequence[str]] | None = None,
    requires_python: str | None = None,
    module: str | None = None,
    files: Mapping[str, bytes] | None = None,
    static: bool = False,
) -> Path:
    """Make a source distribution that has to be built.

    Args:
        folder: Where the archive goes; made if missing.
        name: The distribution's name; the module's is its escaped form.
        version: A version in its normal form.
        build_requires: Requirements of ``[build-system]`` beyond
            ``tinybuild``, which is there whenever it is the backend.
        dynamic_requires: What the backend's ``get_requires_for_build_*``
            hooks ask for. ``tinybuild`` refuses to build without them.
        backend: The ``build-backend``.
        requires: Requirement strings of the distribution itself.
        extras: Requirement strings by extra.
        requires_python: The Python versions allowed, if any are excluded.
        module: Source text of the module; by default its ``__version__``.
        files: Further files, by path under the archive's top folder.
        static: Whether ``[project]`` tells the dependencies. Otherwise it
            calls them dynamic, and a tool must build to learn them.

    Returns:
        The path of the archive.
    """
    metadata = CoreMetadata(name, version, requires, extras or {}, requires_python)
    stem = f"{metadata.escaped}-{version}"
    pyproject = _pyproject(
        metadata,
        build_requires=(*(("tinybuild",) if backend == "tinybuild" else ()), *build_requires),
        dynamic_requires=dynamic_requires,
        backend=backend,
        static=static,
    )
    text = f'__version__ = "{version}"\n' if module is None else module
    contents = {
        "PKG-INFO": metadata.render(),
        "pyproject.toml": pyproject.encode(),
        f"src/{metadata.escaped}/__init__.py": text.encode(),
        **(files or {}),
    }
    return write_tar(
        folder / f"{stem}.tar.gz",
        {f"{stem}/{path}": content for path, content in contents.items()},
    )


def _pyproject(
    metadata: CoreMetadata,
    *,
    build_requires: Sequence[str],
    dynamic_requires: Sequence[str],
    backend: str,
    static: bool,
) -> str:
    dependencies = [f"dependencies = {_toml(metadata.requires)}"]
    extras = [f"{_toml(extra)} = {_toml(lines)}" for extra, lines in metadata.extras.items()]
    lines = [
        "[build-system]",
        f"requires = {_toml(build_requires)}",
        f"build-backend = {_toml(backend)}",
        "[project]",
        f"name = {_toml(metadata.name)}",
        f"version = {_toml(metadata.version)}",
    ]
    if metadata.requires_python is not None:
        lines.append(f"requires-python = {_toml(metadata.requires_python)}")
    if static:
        lines += [*dependencies, "[project.optional-dependencies]", *extras, "[tool.tinybuild]"]
    else:
        lines += ['dynamic = ["dependencies", "optional-dependencies"]', "[tool.tinybuild]"]
        lines += dependencies
    lines.append(f"dynamic-requires = {_toml(dynamic_requires)}")
    if not static:
        lines += ["[tool.tinybuild.optional-dependencies]", *extras]
    return "\n".join(lines) + "\n"


def _toml(value: str | Sequence[str]) -> str:
    # The JSON of strings, and of lists of them, is TOML too.
    return json.dumps(value if isinstance(value, str) else list(value))


def make_tinybuild(folder: Path, version: str = tinybuild_backend.__version__) -> Path:
    """Make a wheel of ``tinybuild``, the backend of ``make_sdist``.

    It appends a line ``<hook> <name> <version>`` to the file named by
    ``TINYBUILD_LOG`` at every build.
    """
    source = Path(tinybuild_backend.__file__).read_bytes()
    return make_wheel(
        folder,
        "tinybuild",
        version,
        files={"tinybuild/__init__.py": source},
        requires_python=">=3.11",
    )


def make_stub(  # noqa: PLR0913 - all but four are optional
    folder: Path,
    name: str,
    version: str,
    index_url: str,
    *,
    requires: Sequence[str] = (),
    backend: str = "wheel_stub",
    flat: bool = False,
) -> Path:
    """Make a source distribution that only stands for a wheel of another index.

    Args:
        folder: Where the archive goes; made if missing.
        name: The distribution's name.
        version: A version in its normal form.
        index_url: The index that it names.
        requires: Requirement strings, as the wheel has them.
        backend: The package of its build backend, ``wheel_stub`` or ``nvidia_stub``.
        flat: Whether its files lie at the top, as in those of ``nvidia_stub``.

    Returns:
        The path of the archive.
    """
    metadata = CoreMetadata(name, version, requires)
    stem = f"{metadata.escaped}-{version}"
    lines = [
        "[build-system]",
        f"requires = [{_toml(backend.replace('_', '-'))}]",
        f'build-backend = "{backend}.buildapi"',
        "[tool.wheel_stub]",
        f"index_url = {_toml(index_url)}",
        "include_cuda_debuginfo = true",
    ]
    # As those of TensorRT 11: a resolver may read what they need (PEP 643).
    info = metadata.render().replace(b"Metadata-Version: 2.1", b"Metadata-Version: 2.4")
    contents = {"PKG-INFO": info, "pyproject.toml": ("\n".join(lines) + "\n").encode()}
    top = "" if flat else f"{stem}/"
    return write_tar(
        folder / f"{stem}.tar.gz",
        {f"{top}{path}": content for path, content in contents.items()},
    )


def make_wheel_stub(folder: Path, package: str = "wheel_stub") -> Path:
    """Make a wheel of the stand-in for the backend of ``make_stub``."""
    source = Path(wheelstub_backend.__file__).read_bytes()
    files = {f"{package}/buildapi.py": source}
    return make_wheel(folder, package.replace("_", "-"), "0.5.0", files=files)
