"""Imports point one way, and the core touches nothing: checked on the syntax tree."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import provisioner

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(provisioner.__file__).parent
LAYERS: Final = ("errors", "core", "adapters", "workflow", "cli")
"""Each may import itself and what stands before it."""

CORE_MAY: Final = frozenset({*sys.stdlib_module_names, "packaging", "provisioner"})
WORLD: Final = frozenset(
    {
        "asyncio",
        "ctypes",
        "datetime",
        "glob",
        "io",
        "multiprocessing",
        "os",
        "pathlib",
        "platform",
        "random",
        "secrets",
        "shutil",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "uuid",
    }
)
"""Modules of the standard library with which the core would reach for the world."""

_ENVIRONMENT: Final = frozenset({"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"})


def module_name(path: Path) -> str:
    """The dotted name of a file below `provisioner/`."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES: Final = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def layer(module: str) -> str | None:
    """The layer of a module; None for the package itself, which holds the version."""
    if module == "provisioner":
        return None
    part = module.split(".")[1]
    return "cli" if part == "__main__" else part


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, wherever the statement stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "." * node.level + (node.module or "")
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            known = [name for name in submodules if name in MODULES]
            yield from known
            if len(known) < len(submodules):
                yield node.module


def import_faults(module: str, tree: ast.AST) -> Iterator[str]:
    """The imports that a module may not have."""
    own = layer(module)
    for name in imported(tree):
        if name.startswith("."):
            yield f"{module} imports `{name}`, which hides where it leads"
        elif own == "core" and name.partition(".")[0] not in CORE_MAY:
            yield f"{module} imports `{name}`, which is neither standard library nor packaging"
        elif own == "core" and name.partition(".")[0] in WORLD:
            yield f"{module} imports `{name}`, which reaches for the world"
        elif name.partition(".")[0] == "provisioner":
            yield from _direction(module, own, name)


def _direction(module: str, own: str | None, name: str) -> Iterator[str]:
    other = layer(name)
    if other is None:
        return
    if own is None or LAYERS.index(other) > LAYERS.index(own):
        yield f"{module} imports `{name}`, which stands above it"
    is_shared = name.rpartition(".")[2].startswith("_")
    if own == other == "adapters" and not is_shared:
        yield f"{module} imports `{name}`, which is another adapter"


def environment_faults(module: str, tree: ast.AST) -> Iterator[str]:
    """Uses of the environment variables of the process, which only the command line reads."""
    if layer(module) == "cli":
        return
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = [node.attr] if node.value.id == "os" else []
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            names = [alias.name for alias in node.names]
        yield from (f"{module} uses `os.{name}`" for name in names if name in _ENVIRONMENT)


def opening_faults(module: str, tree: ast.AST) -> Iterator[str]:
    """Files that the core opens, and what it prints."""
    if layer(module) != "core":
        return
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"open", "print", "input", "exec", "eval", "__import__"}
        ):
            yield f"{module} calls `{node.func.id}`"


def faults(module: str, source: str) -> list[str]:
    tree = ast.parse(source)
    return [
        *import_faults(module, tree),
        *environment_faults(module, tree),
        *opening_faults(module, tree),
    ]


def test_every_module_belongs_to_a_layer() -> None:
    assert {layer(name) for name in MODULES} == {*LAYERS, None}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_keeps_to_its_layer(module: str) -> None:
    assert faults(module, MODULES[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("errors", "from provisioner.core import host", "`provisioner.core.host`, which stands"),
        ("core.host", "import provisioner.adapters.nvml", "`provisioner.adapters.nvml`, which st"),
        ("core.host", "from provisioner import cli", "`provisioner.cli`, which stands above it"),
        ("core.host", "import httpx", "`httpx`, which is neither standard library nor packaging"),
        ("core.host", "from yaml import safe_load", "`yaml`, which is neither"),
        ("core.host", "import os", "`os`, which reaches for the world"),
        ("core.host", "from pathlib import Path", "`pathlib`, which reaches for the world"),
        ("core.host", "import urllib.request, socket", "`socket`, which reaches for the world"),
        ("core.host", "open('x')", "calls `open`"),
        ("core.host", "from . import version", "`.`, which hides where it leads"),
        ("adapters.uv", "from provisioner.workflow.run import run", "which stands above it"),
        ("adapters.uv", "from provisioner.adapters.nvml import read", "which is another adapter"),
        ("adapters.uv", "from provisioner.adapters import pip", "which is another adapter"),
        ("adapters.uv", "import os\nos.environ['HOME']", "uses `os.environ`"),
        ("adapters.uv", "import os\nos.getenv('HOME')", "uses `os.getenv`"),
        ("workflow.run", "from os import environ", "uses `os.environ`"),
        ("workflow.run", "from provisioner.cli.render import envelope", "which stands above it"),
        ("__init__", "from provisioner.core import host", "which stands above it"),
        (
            "workflow.run",
            "def late():\n    import provisioner.cli",
            "`provisioner.cli`, which stands above it",
        ),
        (
            "core.host",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import provisioner.workflow",
            "`provisioner.workflow`, which stands above it",
        ),
    ],
)
def test_an_offence_is_found(module: str, source: str, fault: str) -> None:
    name = "provisioner" if module == "__init__" else f"provisioner.{module}"
    (found,) = faults(name, source)
    assert found.startswith(f"{name} ")
    assert fault in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("core.host", "import re\nfrom packaging.tags import Tag\nfrom provisioner import errors"),
        ("core.host", "from provisioner.core.version import DottedVersion"),
        ("core.host", "from provisioner import __version__"),
        ("adapters.uv", "import os\nos.replace('a', 'b')"),
        ("adapters.uv", "from provisioner.adapters._files import locked\nimport httpx"),
        ("adapters.uv", "from provisioner.core import host"),
        ("workflow.run", "from provisioner.adapters import pip, uv"),
        ("workflow.run", "from provisioner.workflow.world import World"),
        ("cli.commands", "import os\nos.environ\nfrom provisioner.adapters.nvml import load"),
        ("__main__", "from provisioner.cli import main"),
    ],
)
def test_what_is_allowed_is_not_found(module: str, source: str) -> None:
    assert faults(f"provisioner.{module}", source) == []


def test_a_prepare_that_has_nothing_to_do_does_without_packaging() -> None:
    loaded = "import provisioner.workflow.prepare, sys; sys.exit('packaging' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0


def test_a_switch_does_without_what_chooses_a_profile() -> None:
    loaded = (
        "import provisioner.cli.store, provisioner.cli.render, provisioner.workflow.switch, sys; "
        "sys.exit('provisioner.core.judge' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0
