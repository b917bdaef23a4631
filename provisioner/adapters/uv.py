"""uv, driven through its public command line only."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.core.version import is_before
from provisioner.errors import IntegrityError, LockError, SpaceError, ToolError, said

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Mapping

    from provisioner.core.interpreter import Interpreter

OTHER_HASH: Final = "uv-other-hash"
"""The code where uv has other bytes than a lock names."""

OLDEST: Final = "0.6.15"
"""The first version that exports PEP 751 locks, from which everything else is known."""

OLDEST_FILLED: Final = "0.4.4"
"""The first version that heeds `UV_PROJECT_ENVIRONMENT`.

An older one would change the user's own `.venv` where its cache is filled, and prove nothing.
"""

SCRUBBED: Final = frozenset(
    {
        "COLUMNS",
        "CONDA_PREFIX",
        "PIP_PREFIX",
        "PIP_TARGET",
        "PIP_USER",
        "PYTHONHOME",
        "PYTHONPATH",
        "UV_BREAK_SYSTEM_PACKAGES",
        "UV_FROZEN",
        "UV_ISOLATED",
        "UV_LOCKED",
        "UV_NO_SYNC",
        "UV_PROJECT",
        "UV_PROJECT_ENVIRONMENT",
        "UV_PYTHON",
        "UV_SYSTEM_PYTHON",
        "UV_VENV_CLEAR",
        "UV_VENV_SEED",
        "UV_WORKING_DIR",
        "UV_WORKING_DIRECTORY",
        "VIRTUAL_ENV",
    }
)
"""Variables that would send a child to another environment than the one it is given.

`COLUMNS` makes uv break its messages, which are read line by line.
"""

_FACTS_OF_PYTHON = """
import json, platform, sys
print(json.dumps({
    "version": platform.python_version(),
    "implementation": sys.implementation.name,
    "free_threaded": "t" in getattr(sys, "abiflags", ""),
    "path": sys.executable,
    "build": sys.version,
}))
"""


@dataclass(frozen=True, slots=True)
class Turned:
    """Extras and dependency groups that are turned on, and default groups that are not."""

    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def options(self) -> list[str]:
        """As uv takes them."""
        extras = [word for name in self.extras for word in ("--extra", name)]
        groups = [word for name in self.groups for word in ("--group", name)]
        return extras + groups + [word for name in self.without for word in ("--no-group", name)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What uv is to resolve.

    `source` is a file of requirements, or `-` for the text `given`. `name` is what the
    lock is called; versions of the `old` one are kept where they still fit, unless
    `upgrade` is set. `constraints` bound versions without asking for a package.
    `indexes` (`name=url`) may hold passwords, which no command line must.
    """

    source: str
    given: str | None
    turned: Turned
    name: str
    old: str | None
    python: str
    indexes: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    upgrade: bool = False


def find_uv(variables: Mapping[str, str]) -> Path:
    """The user's own uv, the first on PATH; the bundled one only where there is none.

    Raises:
        ToolError: there is neither.
    """
    import shutil

    if found := shutil.which("uv", path=variables.get("PATH")):
        return Path(found)
    try:
        from uv import find_uv_bin

        return Path(find_uv_bin())
    except (ImportError, FileNotFoundError):
        message = "uv is neither on PATH nor installed beside gpuenv"
        raise ToolError(message, hint="`pip install uv`", code="uv-missing") from None


def lock_command(variables: Mapping[str, str], *upgraded: str) -> str:
    """What the user can type to bring `uv.lock` up to date, and some packages in it.

    That is uv's own, which leaves the rest as it is; by its path where uv is gpuenv's alone.

    Raises:
        ToolError: there is no uv.
    """
    import shlex
    import shutil

    own = shutil.which("uv", path=variables.get("PATH"))
    program = "uv" if own else shlex.quote(str(find_uv(variables)))
    return " ".join((program, "lock", *(f"--upgrade-package {name}" for name in upgraded)))


class Uv:
    """uv in one folder, with an environment that nothing of the user's can bend."""

    def __init__(
        self,
        program: Path,
        folder: Path,
        variables: Mapping[str, str],
        python: str | None = None,
    ) -> None:
        """`python` is the interpreter for whatever does not name another one."""
        self._program = program
        self._folder = folder
        self._variables = {name: value for name, value in variables.items() if name not in SCRUBBED}
        if python is not None:
            self._variables["UV_PYTHON"] = python
        self._starting = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._is_stopped = False

    def stop(self) -> None:
        """End what runs, in whatever thread somebody waits for it, and begin nothing more."""
        with self._starting:
            self._is_stopped = True
            for process in self._running:
                process.kill()

    def version(self) -> str:
        """What uv says that it is.

        Raises:
            ToolError: it does not run, or is something else.
        """
        found = self._run(["--version"])
        self._expect(found, f"`{self._program}` does not run")
        words = found.stdout.split()
        if words[:1] != ["uv"] or len(words) == 1:
            message = f"`{self._program}` is no uv"
            why = f"`--version` says `{' '.join(words)}`"
            raise ToolError(message, causes=(why,), code="uv-missing")
        return words[1]

    def usable_version(self) -> str:
        """The version of a uv that is to do the main job.

        Raises:
            ToolError: it does not run, is something else, or too old.
        """
        version = self.version()
        if is_before(version, OLDEST):
            message = f"uv {version} is too old, gpuenv needs {OLDEST} or newer"
            raise ToolError(
                message,
                causes=(f"`{self._program}` is version {version}",),
                hint="`uv self update`, or what else has installed it; without a uv on PATH "
                "gpuenv uses its own",
                code="uv-too-old",
            )
        return version

    def cache_folder(self) -> Path:
        """Where uv keeps what it has unpacked, also where it is told to keep nothing.

        Raises:
            ToolError: uv does not tell.
        """
        found = self._run(["cache", "dir"], {"UV_NO_CACHE": "0"})
        self._expect(found, "uv does not tell where its cache is")
        return Path(found.stdout.strip())

    def python_folder(self) -> Path:
        """Where uv keeps the Pythons that it has installed.

        Raises:
            ToolError: uv does not tell.
        """
        found = self._run(["python", "dir"])
        self._expect(found, "uv does not tell where its Pythons are")
        return Path(found.stdout.strip())

    def find_python(self, request: str | None) -> Path:
        """The Python that uv would take for the project.

        Raises:
            ToolError: uv finds none.
        """
        words = ["python", "find", "--system", "--no-python-downloads"]
        found = self._run([*words, *([request] if request else [])])
        if found.returncode and "Failed to parse" in found.stderr:
            # Of a `uv.toml` or `pyproject.toml`, which uv reads for whatever it does.
            self._expect(found, "uv cannot read its settings")
        if found.returncode:
            message = "uv finds no Python for the project"
            raise ToolError(
                message,
                causes=_words(found.stderr),
                hint=f"`uv python install {request or ''}".rstrip() + "`"
                if "No interpreter found" in found.stderr and "/" not in (request or "")
                else None,
                code="python-missing",
            )
        return Path(found.stdout.strip())

    def describe_python(self, path: Path) -> Interpreter:
        """Ask an interpreter what it is.

        Raises:
            ToolError: it does not run.
        """
        import json
        import subprocess

        from provisioner.core.interpreter import Interpreter

        try:
            found = subprocess.run(
                [path, "-I", "-S", "-c", _FACTS_OF_PYTHON],
                env=self._variables,
                capture_output=True,
                text=True,
                check=False,
            )
            facts = json.loads(found.stdout)
        except (OSError, json.JSONDecodeError) as error:
            message = f"`{path}` is not a Python that runs"
            raise ToolError(message, causes=(str(error),), code="python-broken") from error
        return Interpreter(**facts)

    def lock(self, *, upgrade: bool = False) -> None:
        """Make or refresh `uv.lock`."""
        found = self._run(["lock", *(["--upgrade"] if upgrade else [])])
        self._expect(found, "uv could not lock the project")

    def export(self, turned: Turned, origin: Path) -> str:
        """The project's lock for some extras, as PEP 751.

        Raises:
            LockError: `uv.lock` is malformed, or stale.
            ToolError: uv fails, or is too old.
        """
        import re

        found = self._run(["export", "--locked", "--format", "pylock.toml", "-q", *turned.options])
        if found.returncode and f"Failed to parse `{origin.name}`" in found.stderr:
            message = f"`{origin.name}` is malformed"
            raise LockError(message, causes=_words(found.stderr)[1:], code="lock-malformed")
        # Offline, uv cannot even try to resolve what the lock lacks.
        signs = ("needs to be updated", "error: No solution found when resolving dependencies")
        if found.returncode and any(sign in found.stderr for sign in signs):
            message = f"`{origin.name}` does not fit `pyproject.toml`"
            why = (
                "what the project needs, or the indexes or sources that it names, are not those "
                "that the lock was made for"
            )
            raise LockError(
                message,
                causes=(why,),
                hint=f"`{lock_command(self._variables)}` brings it up to date",
                code="lock-stale",
            )
        if found.returncode:
            self.usable_version()
        self._expect(found, f"uv could not read `{origin.name}`")
        # Up to 0.6.16 at least, uv leaves out what PEP 751 requires, where there is no package.
        lacks = not re.search(r"^(\[\[)?packages\b", found.stdout, re.MULTILINE)
        return f"packages = []\n{found.stdout}" if lacks else found.stdout

    def compile(self, question: Question) -> str:
        """Resolve requirements for every platform into a PEP 751 lock."""
        import tempfile

        with tempfile.TemporaryDirectory(prefix="gpuenv-") as folder:
            output = Path(folder) / question.name
            if question.old is not None:
                output.write_text(question.old, encoding="utf-8")
            words = ["pip", "compile", "--universal", "--format", "pylock.toml", "--no-header"]
            words += ["--python-version", question.python, "-q", "-o", str(output)]
            words += ["--upgrade"] if question.upgrade else []
            if question.constraints:
                bounds = Path(folder) / "constraints.txt"
                bounds.write_text("\n".join(question.constraints) + "\n", encoding="utf-8")
                words += ["--constraints", str(bounds)]
            words += [
                *Turned(question.turned.extras, question.turned.groups).options,
                question.source,
            ]
            more = {"UV_INDEX": " ".join(question.indexes)} if question.indexes else {}
            found = self._run(words, more, question.given)
            self._expect(found, "uv could not resolve the requirements")
            return output.read_text(encoding="utf-8")

    def sync_project(
        self, turned: Turned, environment: Path, python: Path, *, as_users: bool = False
    ) -> None:
        """Make the environment of a project from its own lock, or change it into that.

        `as_users`: as a user's own `uv sync` does it, which looks whether the lock still fits;
        it is not written even so.
        """
        found = self._run(
            [
                *("sync", "--locked" if as_users else "--frozen"),
                *("--python", str(python), *turned.options),
            ],
            {"UV_PROJECT_ENVIRONMENT": str(environment)},
        )
        self._expect(found, "uv could not make the environment")

    def sync_lock(
        self, lock: Path, environment: Path, python: Path, *, editable: Path | None
    ) -> None:
        """Make an environment from a PEP 751 lock, or change it, and put a project into it."""
        if not (environment / "pyvenv.cfg").exists():
            self.make_environment(environment, python)
        inside = ["--python", str(environment)]
        synced = self._run(["pip", "sync", "-q", "--allow-empty-requirements", *inside, str(lock)])
        self._expect(synced, "uv could not fill the environment")
        if editable is not None:
            words = ["pip", "install", "-q", "--no-deps", *inside, "-e", str(editable)]
            self._expect(self._run(words), "uv could not install the project")

    def make_environment(self, environment: Path, python: Path) -> None:
        """Make an environment with nothing in it."""
        made = self._run(["venv", "-q", "--no-project", "--python", str(python), str(environment)])
        self._expect(made, "uv could not make the environment")

    def make_seeded(self, environment: Path, python: Path, wheels: Path) -> None:
        """Make an environment with pip, and what belongs to it, out of a folder of wheels.

        No setting of anybody's leads to others, and uv's cache learns nothing of the folder.
        """
        words = ["venv", "-q", "--no-project", "--no-config", "--seed", "--offline", "--no-index"]
        words += ["--no-cache", "--find-links", str(wheels), "--python", str(python)]
        made = self._run([*words, str(environment)], without="UV_")
        self._expect(made, "uv could not make the environment")

    def forget_packages(self, packages: Iterable[str]) -> None:
        """Remove from uv's cache all that it has of some packages.

        `uv run` and `uvx` keep it as long as their command runs, which may be ours, so that
        they are waited for only as long as a uv may take that installs something.

        Raises:
            ToolError: uv fails.
        """
        words = ["cache", "clean", "-q", *packages]
        more = {"UV_NO_CACHE": "0", _LOCK_TIMEOUT: str(_INSTALLING_SECONDS)}
        found = self._run(words, more)
        if found.returncode and _LOCK_TIMEOUT in found.stderr:
            found = self._run([*words, "--force"], more)
        self._expect(found, "uv could not clean its cache")

    def build_alone(
        self, source: str, python: Path, folder: Path, *, only_metadata: bool = False
    ) -> None:
        """Build the source distribution at a URL as if nothing had ever been built.

        Everything is made in `folder`, the cache too. `only_metadata` stops before anything is
        compiled, where the build backend can tell a package's metadata without; where the
        source distribution itself tells them, nothing is built at all.

        Raises:
            ToolError: uv fails.
        """
        words = ["pip", "install", "-q", "--no-deps", "--python", str(python)]
        words += ["--dry-run"] if only_metadata else []
        words += ["--target", str(folder / "built"), "-r", "-"]
        more = {"UV_CACHE_DIR": str(folder / "cache"), "UV_NO_CACHE": "0"}
        found = self._run(words, more, f"{source}\n")
        self._expect(found, "uv could not build a source distribution")

    def build_wheel(self, source: Path, python: Path, folder: Path, modified: int) -> None:
        """Build a wheel of a project's folder, or of a source distribution, into a folder.

        Times in it are `modified`, in seconds since the epoch, where the build backend heeds
        `SOURCE_DATE_EPOCH` (reproducible-builds.org).

        Raises:
            ToolError: uv, or the build backend, fails.
        """
        words = ["build", "-q", "--wheel", "--python", str(python), "--out-dir", str(folder)]
        # Hashes of names decide on the order of sets, which some backends write down.
        more = {"SOURCE_DATE_EPOCH": str(modified), "PYTHONHASHSEED": "0"}
        found = self._run([*words, str(source)], more)
        self._expect(found, f"uv could not build a wheel of `{source.name}`")

    def _run(
        self,
        words: list[str],
        more: Mapping[str, str] | None = None,
        given: str | None = None,
        *,
        without: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run uv; `without` is how the names of variables begin that it does not get."""
        import subprocess

        variables = {
            name: value
            for name, value in self._variables.items()
            if without is None or not name.startswith(without)
        }
        command = [str(self._program), *words]
        with self._starting:
            if self._is_stopped:
                message = "uv was stopped"
                raise ToolError(message, code="uv-stopped")
            try:
                process = subprocess.Popen(
                    command,
                    cwd=self._folder,
                    env={**variables, **(more or {})},
                    stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            except OSError as error:
                message = f"`{self._program}` does not run"
                why = "it is a folder" if self._program.is_dir() else said(error)
                raise ToolError(message, causes=(why,), code="uv-missing") from error
            self._running.add(process)
        try:
            with process:
                try:
                    output, errors = process.communicate(given)
                except BaseException:
                    process.kill()
                    raise
        finally:
            self._running.discard(process)
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def _expect(self, found: subprocess.CompletedProcess[str], message: str) -> None:
        if found.returncode == 0:
            return
        if any(sign in found.stderr for sign in _FULL):
            raise SpaceError(
                message,
                causes=_words(found.stderr),
                hint="free some space and run the command again; what was fetched is kept",
            )
        if other := _other_hash(found.stderr):
            message = f"`{other}` has the wrong hash"
            raise IntegrityError(
                message,
                causes=_words(found.stderr),
                hint="the lock names other bytes than uv has, from its cache or the index; "
                "if the lock is right, `uv cache clean` makes uv fetch them again",
                code=OTHER_HASH,
            )
        raise ToolError(message, causes=_words(found.stderr), code="uv-failed")


def is_of_uv(error: BaseException) -> bool:
    """Whether uv, or what it ran, has failed, for a reason that may lie in what it was given."""
    return isinstance(error, ToolError) or getattr(error, "code", None) == OTHER_HASH


def _other_hash(text: str) -> str | None:
    """The package whose bytes uv found to have another hash than the lock says."""
    import re

    found = re.search(r"Hash mismatch for `([^`]+)`", re.sub(_COLOUR, "", text))
    return found[1] if found else None


def _words(text: str) -> tuple[str, ...]:
    """The error in uv's own words and causes, a line each, without its progress lines."""
    import re

    lines = [re.sub(_COLOUR, "", line).rstrip() for line in text.splitlines()]
    start = next((i for i, line in enumerate(lines) if line.lstrip().startswith("error:")), 0)
    causes: list[str] = []
    for line in lines[start:]:
        if not line.strip() or line.startswith(_NOISE):
            continue
        if causes and not line.strip().lower().startswith(_CAUSES):
            causes[-1] += f"\n{line}"  # An excerpt of a file, which belongs to its cause.
        else:
            causes.append(re.sub(_CAUSE, "", line.strip()))
    return tuple(causes)


# Full, and over quota.
_LOCK_TIMEOUT: Final = "UV_LOCK_TIMEOUT"
_INSTALLING_SECONDS: Final = 10
_FULL: Final = ("No space left on device", "(os error 28)", "(os error 122)")
_NOISE: Final = ("warning:", "hint:")
_CAUSES: Final = ("error:", "cause:", "caused by:")
_CAUSE: Final = "^(?i:error|cause|caused by): "
_COLOUR: Final = r"\x1b\[[0-9;]*m"
