"""A process keeps the environment that it started in, and so does what it starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from provisioner.adapters.environment import finish
from provisioner.adapters.state import StateFolder
from tests.simulators.environment import clean_environment, uv_binary
from tests.simulators.wheels import make_wheel

NAMES: Final = ("one", "two")
MODULES: Final = 40


def install(path: Path) -> None:
    """Put packages into an environment that tell whose they are, as an installer would."""
    (site,) = path.glob("lib/python*/site-packages")
    for number in range(MODULES):
        (site / f"late_{number}.py").write_text(f"value = {path.name!r}\n", encoding="utf-8")
    (site / "early.py").write_text("from late_0 import value\n", encoding="utf-8")
    (site / "zz_added.pth").write_text("added\nimport late_1\n", encoding="utf-8")
    (site / "added").mkdir()
    (site / "added" / "inner.py").write_text("from late_1 import value\n", encoding="utf-8")


def make_environments(
    folder: Path, link: Path | None = None, python: str = sys.executable
) -> tuple[Path, ...]:
    """Two environments that uv made, with packages of the same names."""
    paths = tuple(folder / "envs" / name for name in NAMES)
    for path in paths:
        made = subprocess.run(
            [uv_binary(), "venv", "-q", "--no-project", "--python", python, path],
            env=clean_environment(folder, UV_OFFLINE="1"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        install(path)
        finish(path, {}, link)
    return paths


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """The environments of all tests that change none."""
    return make_environments(tmp_path_factory.mktemp("store"))


@pytest.fixture
def pair(both: tuple[Path, ...], state: StateFolder) -> tuple[Path, ...]:
    """Two environments, the first of them active."""
    state.flip(both[0])
    return both


class Started:
    """A Python that was started in an environment, and waits to be told to go on."""

    def __init__(self, python: Path, text: str, *words: str, folder: Path) -> None:
        script = folder / "script.py"
        script.write_text(text, encoding="utf-8")
        self._process = subprocess.Popen(
            [python, *words, script],
            env=clean_environment(folder),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "started\n"

    def finish(self) -> list[str]:
        """Let it go on; the lines that it prints then."""
        out, err = self._process.communicate("go on\n", timeout=60)
        assert (self._process.returncode, err) == (0, "")
        return out.splitlines()


WAIT: Final = """\
import sys
if __name__ == "__main__":
    print("started", flush=True)
    sys.stdin.readline()
"""


def after_a_switch(
    state: StateFolder, pair: tuple[Path, ...], code: str, *words: str
) -> tuple[list[str], list[str]]:
    """What code says that was started before a switch and goes on after it, and new code."""
    folder, python = state.home.parent, state.link / "bin" / "python"
    older = Started(python, WAIT + code, *words, folder=folder)
    state.flip(pair[1])
    said = older.finish()
    return said, Started(python, WAIT + code, *words, folder=folder).finish()


WHERE = """
import site, sysconfig
print(sys.prefix, sys.exec_prefix, sysconfig.get_path("purelib"), sep="\\n")
print(*site.getsitepackages(), *(path for path in sys.path if "site-packages" in path), sep="\\n")
import early, inner
print(early.__file__, inner.__file__, sep="\\n")
"""


def test_all_that_tells_where_packages_are_names_the_environment_that_was_started(
    state: StateFolder, pair: tuple[Path, ...]
) -> None:
    older, newer = after_a_switch(state, pair, WHERE)

    for path, said in zip(pair, (older, newer), strict=True):
        (site,) = path.glob("lib/python*/site-packages")
        files = site / "early.py", site / "added" / "inner.py"
        assert list(dict.fromkeys(said)) == [*map(str, (path, site, site / "added", *files))]


CHILDREN: Final = {
    "subprocess": "import subprocess; subprocess.run([sys.executable, '-c', {code!r}])",
    "exec": "import os; os.execv(sys.executable, [sys.executable, '-c', {code!r}])",
    **{
        f"pool by {method}": f"""
if __name__ == "__main__":
    import concurrent.futures, multiprocessing
    context = multiprocessing.get_context({method!r})
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        pool.submit(exec, {{code!r}}).result()
"""
        for method in ("fork", "spawn", "forkserver")
    },
}


@pytest.mark.parametrize("way", CHILDREN)
def test_what_a_process_starts_is_of_the_environment_of_its_parent(
    state: StateFolder, pair: tuple[Path, ...], way: str
) -> None:
    code = "import late_2, late_3, sys; print(late_2.value, sys.prefix, flush=True)"

    older, newer = after_a_switch(state, pair, CHILDREN[way].format(code=code))

    assert older == [f"one {pair[0]}"]
    assert newer == [f"two {pair[1]}"]


FORKSERVER: Final = """
import late_4, multiprocessing
def tell():
    print(late_4.value, flush=True)
if __name__ == "__main__":
    child = multiprocessing.get_context("forkserver").Process(target=tell)
    child.start()
    child.join()
"""


def test_a_fork_server_that_starts_late_imports_what_its_parent_would(
    state: StateFolder, pair: tuple[Path, ...]
) -> None:
    assert after_a_switch(state, pair, FORKSERVER) == (["one"], ["two"])


def test_isolated_it_imports_from_where_it_started_and_tells_the_link(
    state: StateFolder, pair: tuple[Path, ...]
) -> None:
    code = "import early, inner; print(early.value, inner.value, sys.prefix, sys.executable)"

    older, newer = after_a_switch(state, pair, code, "-I")

    # uv asks so, and remembers the answer for what it finds at the link later.
    link = f"{state.link} {state.link / 'bin' / 'python'}"
    assert older == [f"one one {link}"]
    assert newer == [f"two two {link}"]


def run(python: Path, *words: str, folder: Path, **variables: str) -> str:
    """What a Python prints, which ends well and complains of nothing."""
    done = subprocess.run(
        [python, *words],
        env=clean_environment(folder, **variables),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_a_python_that_leaves_out_its_packages_starts_as_ever(
    pair: tuple[Path, ...], tmp_path: Path
) -> None:
    python = pair[0] / "bin" / "python"

    out = run(python, "-S", "-c", "import sys; print('|'.join(sys.path))", folder=tmp_path)

    assert "site-packages" not in out


INTERPRETERS: Final = """
import os
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
def in_another(code):
    number = interpreters.create()
    interpreters.run_string(number, code)
    interpreters.destroy(number)
def files():
    return len(os.listdir("/proc/self/fd"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's `/proc`")
def test_interpreters_within_a_process_import_what_it_would_and_leave_nothing_open(
    pair: tuple[Path, ...], tmp_path: Path
) -> None:
    code = """
before = files()
for _ in range(3):
    in_another("import early; assert early.value == 'one'")
print(files() - before)
"""

    python = pair[0] / "bin" / "python"
    out = run(python, "-c", INTERPRETERS + code, folder=tmp_path)

    assert out == "0"


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's `/proc`")
def test_the_file_of_a_program_that_closed_ours_is_left_to_it(
    pair: tuple[Path, ...], tmp_path: Path
) -> None:
    # As a daemon does: all that was open is closed, and a file gets the number of the mark.
    code = """
import os, sys
(mark,) = [
    int(name) for name in os.listdir("/proc/self/fd")
    if os.path.exists(f"/proc/self/fd/{name}")
    and os.readlink(f"/proc/self/fd/{name}").endswith(".json")
]
os.closerange(3, 100)
opened = os.open("log", os.O_WRONLY | os.O_CREAT)
os.dup2(opened, mark)
class Last:
    def __init__(self):
        self.write = os.write
    def __del__(self):
        self.write(mark, b"written")
sys.last = Last()
"""
    python = pair[0] / "bin" / "python"

    run(python, "-c", code, folder=tmp_path)

    assert (tmp_path / "log").read_text(encoding="utf-8") == "written"


def test_where_there_is_no_mark_and_no_file_of_ours_python_starts(
    tmp_path: Path,
) -> None:
    one, _ = make_environments(tmp_path)
    python, code = one / "bin" / "python", "import early; print(early.value)"
    one.with_name("one.json").unlink()
    assert run(python, "-c", code, folder=tmp_path) == "one"
    (module,) = one.glob("lib/python*/site-packages/_gpuenv.py")
    module.unlink()

    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "one\n")


@pytest.mark.parametrize(
    "variables", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": ""}]
)
def test_a_project_may_have_any_name_in_any_locale(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    home = Path(os.fsdecode(bytes(tmp_path) + b"/it's a \xc3\xa4 %d\xff"))
    home.mkdir()
    state = StateFolder(home)
    one, _ = make_environments(tmp_path / "ä", state.link)
    state.flip(one)
    code = "import sys, os, early; os.write(1, os.fsencode(sys.prefix) + early.value.encode())"
    python = state.link / "bin" / "python"

    done = subprocess.run([python, "-c", code], env={**variables}, capture_output=True, check=True)

    assert (done.stdout, done.stderr) == (os.fsencode(one) + b"one", b"")


def test_another_python_that_takes_the_packages_in_keeps_its_own_place(
    state: StateFolder, pair: tuple[Path, ...], tmp_path: Path
) -> None:
    (site,) = state.link.glob("lib/python*/site-packages")
    code = (
        "import sys; before = sys.prefix, sys.executable; import site; "
        f"site.addsitedir({str(site)!r}); import early; "
        "print(before == (sys.prefix, sys.executable), early.__file__)"
    )

    out = run(Path(sys.executable), "-I", "-c", code, folder=tmp_path)

    (real,) = pair[0].glob("lib/python*/site-packages")
    assert out == f"True {real / 'early.py'}"


def test_a_copy_of_an_environment_is_itself(pair: tuple[Path, ...], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(pair[0], copy, symlinks=True)

    out = run(copy / "bin" / "python", "-c", "import early; print(early.__file__)", folder=tmp_path)

    assert Path(out).is_relative_to(copy)


@pytest.mark.parametrize("installer", ["pip", "uv pip"])
def test_installers_and_console_scripts_follow_the_link(
    state: StateFolder, tmp_path: Path, installer: str
) -> None:
    pair = make_environments(tmp_path)
    wheel = make_wheel(
        tmp_path,
        "tool",
        "1.0",
        files={
            "tool/__init__.py": b"import early, sys\ndef main(): print(early.value, sys.prefix)\n",
            "tool-1.0.dist-info/entry_points.txt": b"[console_scripts]\ntool = tool:main\n",
        },
    )
    python, script = state.link / "bin" / "python", state.link / "bin" / "tool"
    if installer == "pip":
        pytest.importorskip("pip")
        words: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--no-index",
        ]
    else:
        words = [uv_binary(), "pip", "install", "--python", python, "--offline"]
    for path in pair:
        state.flip(path)
        run(Path(words[0]), *map(str, words[1:]), "-q", str(wheel), folder=tmp_path)
    for path in pair:
        state.flip(path)
        assert run(script, folder=tmp_path) == f"{path.name} {path}"


def test_an_environment_made_by_one_that_was_switched_is_of_the_base_python(
    state: StateFolder, pair: tuple[Path, ...]
) -> None:
    code = (
        "import venv, pathlib; venv.create('made', symlinks=True)\n"
        "print(pathlib.Path('made/pyvenv.cfg').read_text())"
    )

    older, _ = after_a_switch(state, pair, code)

    (home,) = (line for line in older if line.startswith("home = "))
    assert Path(home.removeprefix("home = ")).resolve() == Path(sys.base_prefix, "bin").resolve()


@pytest.mark.parametrize("name", ["project", "it's mine"])
def test_a_shell_that_was_activated_follows_a_switch_at_the_next_start(
    tmp_path: Path, name: str
) -> None:
    home = tmp_path / name
    home.mkdir()
    state = StateFolder(home)
    one, two = make_environments(tmp_path, state.link)
    state.flip(one)
    ask = "echo $VIRTUAL_ENV; python -c 'import early, sys; print(early.value, sys.prefix)'"
    script = f". .venv/bin/activate; {ask}; ln -sfn {two} .venv; {ask}; deactivate; which python"

    done = subprocess.run(
        ["bash", "-c", script],
        env=clean_environment(tmp_path),
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )

    said = done.stdout.splitlines()
    assert said[:4] == [str(state.link), f"one {one}", str(state.link), f"two {two}"]
    assert str(home) not in "".join(said[4:])
