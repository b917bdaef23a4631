"""What reviews found, part two: words, variables, targets, and processes that are ended."""

from __future__ import annotations

import json
import platform
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import GPUENV, Machine, distributions, line_of
from tests.cli.projects import BUILD_WHEELS, TARGET, WHEELS, Project
from tests.cli.test_processes import DEADLINE_SECONDS, wait_for
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER = "aarch64" if platform.machine() == "x86_64" else "x86_64"
OLDER = {"GPUENV_DRIVER": "570.124.06", "GPUENV_CUDA": "12.8", "GPUENV_GPUS": "9.0"}
MARK = "TEST_REVIEW_MARK"


def remembered(machine: Machine, folder: Path) -> object:
    return machine.gpuenv(folder, "status", "--json").data["target"]


@pytest.mark.parametrize("value", ["0", "false", ""])
def test_a_variable_that_says_no_to_offline_means_online(
    machine: Machine, new_project: Callable[[Project], Path], index: IndexSimulator, value: str
) -> None:
    app = new_project(Project(lines=()))
    words = ["prepare", "--fetch-only", "--target", TARGET]
    refused = machine.gpuenv(app, *words, given={"GPUENV_OFFLINE": "true"})
    assert refused.code == 3
    assert index.requests == []
    done = machine.gpuenv(app, *words, given={"GPUENV_OFFLINE": value})
    assert done.code == 0, done.err
    assert index.gets(WHEELS["common"]) == 1


def test_a_variable_that_says_neither_yes_nor_no_is_2(machine: Machine, app: Path) -> None:
    given = {"GPUENV_OFFLINE": "maybe"}
    done = machine.gpuenv(app, "select", "--target", TARGET, given=given)
    assert (done.code, done.out) == (2, "")
    assert "`GPUENV_OFFLINE`" in done.message.error


def test_a_variable_that_says_neither_is_2_in_json_too(machine: Machine, app: Path) -> None:
    given = {"GPUENV_OFFLINE": "maybe"}
    done = machine.gpuenv(app, "select", "--json", "--target", TARGET, given=given)
    assert done.code == 2
    assert (done.envelope["command"], done.envelope["status"]) == ("select", "error")


def test_an_empty_command_is_2(machine: Machine, tmp_path: Path) -> None:
    done = machine.gpuenv(tmp_path, "")
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert done.message.error


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "no UTF-8": lambda content: content.replace(b"cu13", b"\xff\xfe13"),
    "empty": lambda _: b"",
    "no object": lambda _: b"[]\n",
    "no history": lambda _: b'{"schema": 1}\n',
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_state_is_an_error_whose_hint_helps(
    warm: Machine, app: Path, index: IndexSimulator, kind: str
) -> None:
    words = ["prepare", "--only", "--target", TARGET]
    assert warm.gpuenv(app, *words).code == 0
    state = app / ".gpuenv" / "state.json"
    damaged = DAMAGED[kind](state.read_bytes())
    state.write_bytes(damaged)
    for command in (["status"], ["switch", "cu13"], words, ["run", "--", "true"]):
        done = warm.gpuenv(app, *command)
        assert (done.code, done.out) == (1, ""), done.err
        assert done.message.error == f"`{state}` is damaged"
        assert done.message.hint is not None
    in_json = warm.gpuenv(app, "status", "--json")
    assert [error["code"] for error in in_json.envelope["errors"]] == ["state-damaged"]
    assert state.read_bytes() == damaged
    state.unlink()
    index.reset_log()
    mended = warm.gpuenv(app, *words)
    assert mended.code == 0, mended.err
    assert line_of(app / ".venv") == "cu13"
    assert index.requests == []


def test_run_keeps_the_users_variables_and_names_its_own_environment(
    warm: Machine, app: Path, tmp_path: Path
) -> None:
    prepared = warm.gpuenv(app, "prepare", "--only", "--target", TARGET)
    assert prepared.code == 0, prepared.err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "of_my_own.py").write_text("VALUE = 1\n", encoding="utf-8")
    given = {
        "PYTHONPATH": str(tmp_path / "mine"),
        "UV_INDEX_URL": "http://127.0.0.1:9/simple/",
        "VIRTUAL_ENV": str(tmp_path / "theirs"),
        "CONDA_PREFIX": str(tmp_path / "theirs"),
    }
    code = "import json, lean, of_my_own, os; print(json.dumps(dict(os.environ)))"
    done = warm.gpuenv(app, "run", "--", "python", "-c", code, given=given)
    assert done.code == 0, done.err
    variables = json.loads(done.out)
    environment = (app / ".venv").readlink()
    assert variables["PYTHONPATH"] == given["PYTHONPATH"]
    assert variables["UV_INDEX_URL"] == given["UV_INDEX_URL"]
    assert variables["VIRTUAL_ENV"] == str(environment)
    assert variables["PATH"].startswith(f"{environment}/bin:")
    assert "CONDA_PREFIX" not in variables


@pytest.mark.parametrize("command", ["prepare", "select", "lock"])
def test_settings_of_tools_alone_are_no_project(
    machine: Machine, tmp_path: Path, command: str
) -> None:
    folder = tmp_path / "tools"
    folder.mkdir()
    path = folder / "pyproject.toml"
    path.write_text("[tool.ruff]\nline-length = 100\n", encoding="utf-8")
    done = machine.gpuenv(folder, command, "--target", TARGET)
    assert done.code == 1
    assert done.message.error == f"`{path}` describes no project"
    assert not (folder / ".venv").exists()


def test_a_target_outlives_a_failure_and_overrides_until_it_is_forgotten(
    machine: Machine, new_project: Callable[[Project], Path], index: IndexSimulator
) -> None:
    app = new_project(Project(packages=("lean",)))
    index.fail(WHEELS["cu13"], 404)
    failed = machine.gpuenv(app, "prepare", "--target", TARGET)
    assert failed.code == 3, failed.err
    target = remembered(machine, app)
    assert target is not None
    index.heal()
    plain = machine.gpuenv(app, "prepare", "--json")
    assert (plain.data["active"], plain.data["target"]) == ("cu13", target)
    overridden = machine.gpuenv(app, "prepare", "--json", given=OLDER)
    assert (overridden.data["active"], overridden.data["target"]) == ("cu12", None)
    assert remembered(machine, app) == target
    again = machine.gpuenv(app, "prepare", "--json")
    assert again.data["active"] == "cu13"
    here = machine.gpuenv(
        app, "prepare", "--target", "here", "--json", given={"GPUENV_DRIVER": "none"}
    )
    assert here.data["active"] == "cpu"
    assert remembered(machine, app) is None


def test_whatever_goes_by_the_remembered_target_says_so(warm: Machine, app: Path) -> None:
    first = warm.gpuenv(app, "prepare", "--only", "--target", TARGET)
    assert "remembered" not in first.out
    said = "for the remembered target driver=580.65.06,cuda=13.0,gpus=9.0"
    for words in (["prepare", "--only"], ["prepare"], ["prepare"], ["select"], ["profiles"]):
        done = warm.gpuenv(app, *words)
        assert done.code == 0, done.err
        assert done.out.startswith(said), (words, done.out)
    for words in (["select", "--target", TARGET], ["profiles", "--target", TARGET]):
        assert "remembered" not in warm.gpuenv(app, *words).out
    assert "remembered" not in warm.gpuenv(app, "select", given=OLDER).out


def test_a_path_of_a_python_is_no_part_of_the_remembered_target(warm: Machine, app: Path) -> None:
    words = ["prepare", "--only", "--target", TARGET, "--python", sys.executable]
    done = warm.gpuenv(app, *words)
    assert done.code == 0, done.err
    target = remembered(warm, app)
    assert isinstance(target, dict)
    assert target.get("python") is None
    for command in (["status"], ["select"], ["prepare", "--only"], ["lock"]):
        later = warm.gpuenv(app, *command)
        assert later.code == 0, (command, later.err)


@pytest.mark.parametrize("more", [f",machine={OTHER},python=3.14", f",machine={OTHER},python=3.99"])
def test_a_python_that_is_named_for_another_machine_is_no_crash(
    warm: Machine, app: Path, more: str
) -> None:
    done = warm.gpuenv(app, "prepare", "--target", TARGET + more, "--json")
    assert "Traceback" not in done.err
    assert done.data["environment"] is None
    assert warm.gpuenv(app, "select", "--json").data["profile"] == "cu13"


def test_a_free_threaded_python_for_another_machine_is_no_crash(warm: Machine, app: Path) -> None:
    target = f"{TARGET},machine={OTHER}"
    done = warm.gpuenv(app, "prepare", "--target", target, "--python", "3.13t")
    assert "Traceback" not in done.err
    assert done.code in {0, 1, 2}, done.err
    if done.code:
        assert "3.13t" in done.message.error + " ".join(done.message.causes)
    later = warm.gpuenv(app, "select", "--json")
    assert later.data["profile"] == "cu13"


def test_a_machine_that_does_not_exist_is_2(machine: Machine, app: Path) -> None:
    done = machine.gpuenv(app, "prepare", "--target", f"{TARGET},machine=foo")
    assert done.code == 2
    assert any("`machine=`" in cause and "`foo`" in cause for cause in done.message.causes)
    assert not (app / ".gpuenv" / "state.json").exists()


def test_the_hint_for_extras_that_exclude_each_other_is_the_line_that_lacks(
    machine: Machine, tmp_path: Path
) -> None:
    app = tmp_path / "app"
    app.mkdir()
    with IndexSimulator() as own:
        for version in ("1.0", "2.0"):
            own.publish(make_wheel(tmp_path, "library", version))
        text = f"""\
[project]
name = "app"
version = "0.1.0"
requires-python = ">=3.11"

[project.optional-dependencies]
cu12 = ["library==1.0"]
cu13 = ["library==2.0"]

[[tool.uv.index]]
url = "{own.index_url}"
default = true
"""
        (app / "pyproject.toml").write_text(text, encoding="utf-8")
        failed = machine.gpuenv(app, "prepare", "--target", TARGET)
        assert failed.code == 1
        hint = failed.message.hint
        assert hint is not None
        line = 'conflicts = [[{ extra = "cu12" }, { extra = "cu13" }]]'
        assert f"`{line}`" in hint
        (app / "pyproject.toml").write_text(f"{text}\n[tool.uv]\n{line}\n", encoding="utf-8")
        done = machine.gpuenv(app, "prepare", "--target", TARGET)
        assert done.code == 0, done.err
    assert distributions(app / ".venv") == {"library 2.0"}


def test_only_a_shell_that_stays_where_it_was_is_told_of_the_switch(
    warm: Machine, app: Path
) -> None:
    prepared = warm.gpuenv(app, "prepare", "--target", TARGET)
    assert prepared.code == 0, prepared.err
    script = '. .venv/bin/activate && "$@"'
    for line in ("cu13", "cu12", "cu13"):
        follows = warm.run(app, "bash", "-c", script, "bash", *GPUENV, "switch", line)
        assert follows.code == 0, follows.err
        assert "this shell" not in follows.out
    same = warm.gpuenv(app, "run", "--", *GPUENV, "switch", "cu13")
    assert same.code == 0, same.err
    assert "this shell" not in same.out
    done = warm.gpuenv(app, "run", "--", *GPUENV, "switch", "cu12")
    assert done.code == 0, done.err
    assert "this shell has another environment activated" in done.out


def alive(mark: str) -> list[str]:
    """The processes that a command started and left, by a variable that it was given."""
    found = []
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # It has ended meanwhile, or is another user's.
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["fetching", "building"])
def test_a_signal_ends_all_that_was_started_and_leaves_nothing_half(
    machine: Machine, app: Path, index: IndexSimulator, number: signal.Signals, moment: str
) -> None:
    helper = next(name for name in BUILD_WHEELS if name.startswith("helper"))
    if moment == "fetching":
        index.throttle(100_000)
    else:
        index.delay(helper, 5.0)
    mark = str(machine.root)

    def reached() -> bool:
        if moment == "fetching":
            return index.file_bytes_served(WHEELS["cu13"]) > 0
        return index.gets(helper) > 0 and len(alive(mark)) > 1

    with machine.start(app, "prepare", "--target", TARGET, given={MARK: mark}) as process:
        wait_for(reached, process)
        process.send_signal(number)
        _, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert alive(mark) == []
    assert machine.environments() == set()
    assert not (app / ".venv").is_symlink()
    index.heal()
    done = machine.gpuenv(app, "prepare", "--only", "--target", TARGET)
    assert done.code == 0, done.err
    assert line_of(app / ".venv") == "cu13"


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("command", [["switch", "cu13"], ["rollback", "1"]])
def test_a_signal_during_a_renewal_leaves_nothing_half(
    machine: Machine, app: Path, command: list[str]
) -> None:
    prepared = machine.gpuenv(app, "prepare", "--only", "--target", TARGET)
    assert prepared.code == 0, prepared.err
    shutil.rmtree((app / ".venv").readlink())
    shutil.rmtree(machine.root / "uv-cache")
    mark = str(machine.root)

    def reached() -> bool:
        return len(alive(mark)) > 1 and bool(machine.environments())

    with machine.start(app, *command, given={MARK: mark}) as process:
        wait_for(reached, process)
        process.terminate()
        _, err = process.communicate(timeout=DEADLINE_SECONDS)
    # What uv had started for a build ends by itself when uv is gone; a busy machine takes its time.
    end = time.monotonic() + DEADLINE_SECONDS
    while alive(mark) and time.monotonic() < end:
        time.sleep(0.05)
    left, half = alive(mark), machine.environments()
    assert (process.returncode, left, half) == (130, [], set()), err
    done = machine.gpuenv(app, *command, network=False)
    assert done.code == 0, done.err
    assert line_of(app / ".venv") == "cu13"
