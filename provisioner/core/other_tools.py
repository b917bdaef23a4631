"""What a project says in the tables and files of build backends and of tools beside uv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import GpuenvError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

INSTEAD: Final = "`[project.optional-dependencies]` or `[dependency-groups]`"
"""Where every tool reads the lines of a project."""

_EXTRAS: Final = (
    ("tool", "poetry", "extras"),
    ("tool", "flit", "metadata", "requires-extra"),
    ("tool", "setuptools", "dynamic", "optional-dependencies"),
)
"""The tables that tell a build backend the extras, where `[project]` does not."""

_READABLE: Final = ("poetry", "flit", "setuptools")
"""The build backends whose extras stand in a file."""

_GROUPS: Final = (
    (("tool", "pdm", "dev-dependencies"), "pdm"),
    (("tool", "poetry", "group"), "poetry"),
    (("tool", "hatch", "envs"), "hatch"),
    (("tool", "pixi", "feature"), "pixi"),
)
"""The tables of groups and environments that one tool alone reads."""

_SPARE: Final = frozenset({"pdm", "poetry"})
"""The tools whose groups one expects in the environment; those of others have their own."""

_HINTS: Final[Mapping[str, str]] = {
    "setup.py": "a `pyproject.toml` with `[build-system]` beside it, which has "
    '`requires = ["setuptools"]` and `build-backend = "setuptools.build_meta"`, makes it one',
    "requirements.txt": "`uv init --bare` and `uv add -r requirements.txt` make it one",
    "Pipfile": "a `[project]` table in a `pyproject.toml` makes it one",
    "environment.yml": "its `pip` packages in `[project]` of a `pyproject.toml` make it one",
    "pixi.toml": "a `[project]` table in a `pyproject.toml` makes it one",
}
FILES: Final[Mapping[str, str]] = {
    "setup.py": "setup.py",
    "setup.cfg": "setup.py",
    "requirements.txt": "requirements.txt",
    "requirements.in": "requirements.txt",
    "Pipfile": "Pipfile",
    "environment.yml": "environment.yml",
    "environment.yaml": "environment.yml",
    "pixi.toml": "pixi.toml",
}
"""The files by which other tools know a project, and which of them tells what can be done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Elsewhere:
    """What stands beside `[project]`.

    `extras` are known by their names. `unread` says why there may be others. `groups` are the
    names in each table that only one tool reads, by the table and the tool. `fault` says why
    nobody but another tool can tell what the project needs at all.
    """

    name: str | None = None
    extras: frozenset[str] = frozenset()
    unread: str | None = None
    groups: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    fault: str | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """The groups that one could miss in an environment."""
        return tuple(
            f"{_listed(names)} of `[{table}]` {'is' if len(names) == 1 else 'are'} not installed: "
            f"only {tool} reads that table"
            for table, tool, names in self.groups
            if tool in _SPARE
        )


def read_elsewhere(
    data: Mapping[str, Any], setup_cfg: str | None = None, setup_py: str | None = None
) -> Elsewhere:
    """Read the tables of other tools in a `pyproject.toml`, and the files beside it.

    Extras that `[project]` does not leave to the build backend are none of its business.
    """
    poetry = _table(data, "tool", "poetry")
    groups = [(".".join(path), tool, tuple(sorted(_table(data, *path)))) for path, tool in _GROUPS]
    old = poetry.get("dev-dependencies")
    groups += [("tool.poetry.dev-dependencies", "poetry", ("dev",))] if old else []
    groups = [one for one in groups if one[2]]
    project = data.get("project")
    fault = None
    if project is None and poetry and poetry.get("package-mode") is False:
        fault = "with `package-mode = false` and no `[project]` only poetry reads what it needs"
    elif project is None and poetry and "build-system" not in data:
        fault = "without `[project]` and `[build-system]` only poetry reads what it needs"
    static = isinstance(project, dict) and "optional-dependencies" not in project.get("dynamic", ())
    if static or not ("build-system" in data or setup_cfg is not None or setup_py is not None):
        return Elsewhere(groups=tuple(groups), fault=fault)
    backend = str(_table(data, "build-system").get("build-backend", "setuptools.build_meta"))
    extras = {name for path in _EXTRAS for name in _table(data, *path)}
    name = poetry.get("name")
    unread = None
    if not backend.startswith(_READABLE):
        unread = f"only the build backend `{backend}` knows the extras of the project"
    if backend.startswith("setuptools"):
        found, of_cfg = _from_setup_cfg(setup_cfg or "")
        extras |= found
        arguments = _from_setup_py(setup_py or "")
        value = arguments.get("extras_require", {})
        extras |= set(value) if isinstance(value, dict) else set()
        if not isinstance(value, dict):
            unread = "`extras_require` in `setup.py` is computed, so that only running it tells"
        name = name or of_cfg or arguments.get("name")
    return Elsewhere(
        name=name if isinstance(name, str) else None,
        extras=frozenset(map(str, extras)),
        unread=unread,
        groups=tuple(groups),
        fault=fault,
    )


def refuse_unread(
    elsewhere: Elsewhere, defined: Iterable[str], lines: Iterable[str], origin: str
) -> None:
    """Refuse a project whose CUDA lines stand where gpuenv cannot read them.

    `defined` are the extras and groups that are known, `lines` those that profiles turn on.

    Raises:
        GpuenvError: it would get an environment without them.
    """
    from provisioner.core.project import normalise

    known, wanted = set(defined), set(map(normalise, lines))
    causes = [
        f"`{name}` is defined in `[{table}]`, which only {tool} reads"
        for table, tool, names in elsewhere.groups
        for name in names
        if normalise(name) in wanted - known
    ]
    if elsewhere.unread and not known & wanted:
        causes.append(elsewhere.unread)
    if causes:
        message = f"the CUDA lines of `{origin}` cannot be read"
        raise GpuenvError(
            message,
            causes=tuple(causes),
            hint=f"{INSTEAD} are read; `--profile cpu` does without",
            code="project-unsupported",
        )


def refuse_other_project(folder: str, names: Iterable[str]) -> None:
    """Refuse a folder in which files of other tools stand for a project.

    Raises:
        GpuenvError: there are some among `names`, which are files of the folder.
    """
    there = [name for name in FILES if name in set(names)]
    if there:
        message = f"`{folder}` has no `pyproject.toml`"
        raise GpuenvError(
            message,
            causes=tuple(f"`{name}` is not read" for name in there),
            hint=f"{_HINTS[FILES[there[0]]]}; `--profile NAME` installs the packages of a profile",
            code="project-unsupported",
        )


def _table(data: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    value: Any = data
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _from_setup_cfg(text: str) -> tuple[set[str], str | None]:
    """The extras and the name that `setup.cfg` tells; setuptools says what is wrong with it."""
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error:
        return set(), None
    section = "options.extras_require"
    extras = set(parser.options(section)) if parser.has_section(section) else set()
    return extras, parser.get("metadata", "name", fallback=None)


def _from_setup_py(text: str) -> dict[str, Any]:
    """The `name` and `extras_require` of `setup()`; None where they are no literals."""
    import ast

    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return {}
    # A name that is given a value once stands for that.
    values: dict[str, ast.expr | None] = {}
    keywords: list[ast.keyword] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            values |= {name: None if name in values else node.value for name in names}
        elif isinstance(node, ast.Call):
            function = getattr(node.func, "id", getattr(node.func, "attr", ""))
            keywords += node.keywords if function == "setup" else []
    found: dict[str, Any] = {}
    for keyword in keywords:
        value: ast.expr | None = keyword.value
        if isinstance(value, ast.Name):
            value = values.get(value.id)
        if keyword.arg in {"name", "extras_require"}:
            found[keyword.arg] = _literal(value)
        elif keyword.arg is None:
            found.setdefault("extras_require", None)  # `setup(**arguments)`
    return found


def _literal(value: Any) -> Any:  # noqa: ANN401 - a node, and what it stands for
    """A text, or the keys of a dictionary as one; None for anything else."""
    import ast

    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    if isinstance(value, ast.Dict):
        keys = [getattr(key, "value", None) for key in value.keys]
        return dict.fromkeys(keys) if all(isinstance(key, str) for key in keys) else None
    return None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
