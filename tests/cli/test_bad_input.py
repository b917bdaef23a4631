"""Variables that would bend a child, Pythons that go or are managed, and odd names."""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import Machine, distributions, line_of
from tests.cli.projects import TARGET, Project

if TYPE_CHECKING:
    from tests.simulators.index import IndexSimulator

MINOR = f"python{sys.version_info.major}.{sys.version_info.minor}"
LEFT_OUT = ("test", "idlelib", "site-packages", "__pycache__", "*.a", "share", "include")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A copy of the interpreter, managed by somebody else, with a package of its own."""
    copy = tmp_path / "base"
    found = Path(sys.base_prefix)
    if not (found / "lib" / MINOR / "os.py").is_file() or found == Path("/usr"):
        pytest.skip("this Python is spread over the file system and cannot be copied")
    ignored = shutil.ignore_patterns(*LEFT_OUT)
    (copy / "lib").mkdir(parents=True)
    shutil.copytree(found / "bin", copy / "bin", symlinks=True)
    shutil.copytree(found / "lib" / MINOR, copy / "lib" / MINOR, symlinks=True, ignore=ignored)
    for library in (found / "lib").glob("libpython*"):
        shutil.copy2(library, copy / "lib", follow_symlinks=False)
    site = copy / "lib" / MINOR / "site-packages"
    site.mkdir()
    (site / "theirs.py").write_text("whose = 'theirs'\n", encoding="utf-8")
    (copy / "lib" / MINOR / "EXTERNALLY-MANAGED").write_text(
        "[externally-managed]\nError=leave it alone\n", encoding="utf-8"
    )
    return copy


def content(folder: Path) -> dict[str, str]:
    """What a folder holds, by path: hash of each file, or where a link leads; no byte code."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if (path.is_symlink() or path.is_file()) and path.suffix != ".pyc"
    }


def test_no_variable_leads_gpuenv_or_what_it_runs_to_the_base_interpreter(
    warm: Machine, app: Path, base: Path
) -> None:
    python, site = base / "bin" / MINOR, base / "lib" / MINOR / "site-packages"
    hostile = {
        "CONDA_PREFIX": str(base),
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
        "PIP_PREFIX": str(base),
        "PIP_TARGET": str(site),
        "PYTHONHOME": str(base),
        "PYTHONPATH": str(site),
        "UV_BREAK_SYSTEM_PACKAGES": "1",
        "UV_LINK_MODE": "symlink",
        "UV_NO_CACHE": "1",
        "UV_PROJECT_ENVIRONMENT": str(base),
        "UV_PYTHON": str(python),
        "UV_SYSTEM_PYTHON": "1",
        "UV_VENV_SEED": "1",
        "VIRTUAL_ENV": str(base),
    }
    before = content(base)
    words = ("--python", str(python))
    done = warm.gpuenv(app, "prepare", "--target", TARGET, *words, given=hostile)
    assert done.code == 0, done.err
    # What changed the environment, so that it is made again.
    shutil.rmtree((app / ".venv").readlink())
    for command in (("switch", "cu13"), ("switch", "cu12"), ("rollback",), ("status",)):
        done = warm.gpuenv(app, *command, given=hostile)
        assert done.code == 0, done.err
    code = "import sys; print(sys.prefix); import theirs"
    ran = warm.gpuenv(app, "run", "--", "python", "-c", code, given=hostile)

    assert content(base) == before
    assert ran.out == f"{(app / '.venv').readlink()}\n"
    assert "base" in (app / ".venv" / "pyvenv.cfg").read_text(encoding="utf-8")
    assert distributions(app / ".venv") == {"common 1.0", "lean-cu13 1.0", "stub-cu13 1.0"}


def test_a_python_that_was_removed_is_told_by_every_command_and_prepare_mends_it(
    warm: Machine, app: Path, base: Path
) -> None:
    words = ("prepare", "--only", "--no-proof", "--target", TARGET)
    python = base / "bin" / MINOR
    assert warm.gpuenv(app, *words, "--python", str(python)).code == 0
    shutil.rmtree(base)

    looked = warm.gpuenv(app, "status")
    assert looked.code == 4
    gone = f"its Python, `{python}`, is gone"
    assert looked.message.causes == (f"the environment of `cu13` does not start: {gone}",)
    assert "cu13: broken" in looked.out
    for command in (("switch", "cu13"), ("rollback", "1"), ("run", "--", "python", "-c", "1")):
        done = warm.gpuenv(app, *command)
        assert (done.code, done.message.causes) == (1, (gone,)), command
        assert done.message.hint == "`gpuenv prepare` makes it anew, with the Python that is there"
    asked = warm.gpuenv(app, *words, "--python", str(python))
    assert (asked.code, asked.message.hint) == (1, None)

    assert warm.gpuenv(app, *words).code == 0
    assert line_of(app / ".venv") == "cu13"
    assert warm.gpuenv(app, "status").code == 0


def test_a_python_that_was_built_anew_gets_a_new_environment_and_a_touched_one_none(
    warm: Machine, app: Path, base: Path
) -> None:
    python = base / "bin" / MINOR
    words = ("prepare", "--only", "--no-proof", "--target", TARGET, "--python", python, "--json")
    loaded = {"LD_LIBRARY_PATH": str(base / "lib")}
    first = warm.gpuenv(app, *words, given=loaded)
    assert first.code == 0, first.err
    assert warm.gpuenv(app, *words, given=loaded).data["nothing_to_do"] is True

    python.touch()
    touched = warm.gpuenv(app, *words, given=loaded)
    assert touched.data["environment"] == first.data["environment"]

    # Of the same version, on another day: the day is in the program or in its library.
    day = platform.python_build()[1][: len("Jan  1 2000")].encode()
    libraries = (file for file in (base / "lib").glob("libpython*") if not file.is_symlink())
    for file in (python, *libraries):
        file.write_bytes(file.read_bytes().replace(day, b"Jan  1 2000"))
    rebuilt = warm.gpuenv(app, *words, given=loaded)
    assert rebuilt.code == 0, rebuilt.err
    assert rebuilt.data["environment"] != first.data["environment"]


@pytest.mark.parametrize("name", ['it\'s "b" $x `y`\\', "größe 日本\nline", "-col:on"])
def test_a_project_may_lie_anywhere(
    warm: Machine, tmp_path: Path, index: IndexSimulator, name: str
) -> None:
    folder = Project(packages=("lean",)).write(tmp_path / name, index.index_url)
    done = warm.gpuenv(folder, "prepare", "--only", "--no-proof", "--target", TARGET)
    assert done.code == 0, done.err
    assert warm.gpuenv(folder, "switch", "cu13").code == 0
    ran = warm.gpuenv(folder, "run", "--", "python", "-c", "import lean; print(lean.LINE)")
    assert (ran.code, ran.out) == (0, "cu13\n"), ran.err
    script = (
        '. ./.venv/bin/activate; python -c "import lean; print(lean.LINE)"; echo "$VIRTUAL_ENV"'
    )
    active = warm.run(folder, "bash", "-c", script)
    # No `PATH` can hold a colon, so that the environment's own place is named there.
    where = (folder / ".venv").readlink() if ":" in name else folder / ".venv"
    assert (active.code, active.out) == (0, f"cu13\n{where}\n"), active.err
