"""`switch`, `rollback`, `status` and `run`: a flip and nothing else, with no network."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import GPUENV, Machine, distributions, line_of
from tests.cli.projects import TARGET, Project, publish_packages
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Prepared


@pytest.fixture
def prepared(first_prepare: Prepared, index: IndexSimulator) -> Prepared:
    """The project of this module, with `cu13` active as it was made; tests change no other."""
    done = first_prepare.gpuenv("switch", "cu13")
    assert done.code == 0, done.err
    index.reset_log()
    return first_prepare


@pytest.fixture(scope="module")
def other_python() -> Path:
    """A newer Python that is on this machine, most likely beside the one that runs the tests."""
    minors = [f"python3.{sys.version_info.minor + more}" for more in (1, 2, 3)]
    beside = Path(sys.base_prefix).parent
    every = [path for minor in minors for path in beside.glob(f"*/bin/{minor}")]
    every += [Path(found) for minor in minors if (found := shutil.which(minor))]
    for path in every:
        if subprocess.run([path, "-c", ""], check=False, capture_output=True).returncode == 0:
            return path
    pytest.skip("needs another Python")


def generation(prepared: Prepared) -> int:
    number: int = prepared.gpuenv("status", "--json").data["generation"]
    return number


@pytest.mark.parametrize("network", [True, False])
def test_switch_gives_the_other_line_and_asks_nothing(
    prepared: Prepared, index: IndexSimulator, *, network: bool
) -> None:
    before = generation(prepared)
    environment = prepared.environment("cu12")
    done = prepared.gpuenv("switch", "cu12", "--json", network=network)
    assert (done.data["from"], done.data["to"]) == ("cu13", "cu12")
    assert done.data["generation"] == before + 1
    assert done.data["environment"] == str(environment)
    assert prepared.link.readlink() == environment
    assert line_of(prepared.link) == "cu12"
    assert index.requests == []
    assert prepared.machine.built() == list(prepared.builds)


@pytest.mark.parametrize(
    "words", [("switch", "cu13"), ("run", "--", "true"), ("prepare",)], ids=lambda words: words[0]
)
def test_every_use_of_an_environment_is_noted_for_a_collection(
    prepared: Prepared, words: tuple[str, ...]
) -> None:
    environment = prepared.link.readlink()
    mark = environment.with_name(f"{environment.name}.json")
    os.utime(mark, (5, 5))

    assert prepared.gpuenv(*words).code == 0

    assert mark.stat().st_mtime > 5
    assert json.loads(mark.read_text(encoding="utf-8"))["site"]["host"] == os.uname().nodename


def test_switch_says_what_was_and_what_is(prepared: Prepared) -> None:
    number = generation(prepared) + 1
    done = prepared.gpuenv("switch", "cu12")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"cu13 -> cu12 (generation {number})\n"


def test_switching_to_what_is_active_makes_no_generation(prepared: Prepared) -> None:
    before = generation(prepared)
    done = prepared.gpuenv("switch", "cu13", "--json")
    assert (done.data["from"], done.data["to"]) == ("cu13", "cu13")
    assert done.data["generation"] == before
    assert generation(prepared) == before


def test_rollback_goes_to_the_previous_generation_and_keeps_numbers(
    prepared: Prepared, index: IndexSimulator
) -> None:
    before = generation(prepared)
    prepared.gpuenv("switch", "cu12")
    done = prepared.gpuenv("rollback", "--json")
    assert (done.data["from"], done.data["to"]) == ("cu12", "cu13")
    assert done.data["generation"] == before
    assert line_of(prepared.link) == "cu13"
    later = prepared.gpuenv("switch", "cpu", "--json")
    assert later.data["generation"] == before + 2
    assert index.requests == []


def test_rollback_goes_to_the_generation_that_is_named(prepared: Prepared) -> None:
    before = generation(prepared)
    prepared.gpuenv("switch", "cu12")
    prepared.gpuenv("switch", "cpu")
    done = prepared.gpuenv("rollback", str(before + 1), "--json")
    assert (done.data["to"], done.data["generation"]) == ("cu12", before + 1)
    assert line_of(prepared.link) == "cu12"


def test_rollback_to_an_unknown_generation_fails_and_changes_nothing(prepared: Prepared) -> None:
    before = prepared.machine.snapshot(prepared.folder)
    done = prepared.gpuenv("rollback", "4711")
    assert done.code == 1
    assert done.message.error == "there is no generation 4711"
    assert done.message.causes[0].startswith("generations are 1, ")
    assert prepared.machine.snapshot(prepared.folder) == before


def test_rollback_with_nothing_before_it_fails(
    warm: Machine, new_project: Callable[[Project], Path]
) -> None:
    app = new_project(Project())
    warm.gpuenv(app, "prepare", "--only", "--target", TARGET)
    done = warm.gpuenv(app, "rollback")
    assert done.code == 1
    assert done.message.error == "there is no earlier generation"


def test_rollback_to_what_is_gone_and_cannot_be_made_again_says_so(
    warm: Machine, new_project: Callable[[Project], Path]
) -> None:
    app = new_project(Project(lines=("cu13",)))
    first = warm.gpuenv(app, "prepare", "--only", "--target", TARGET, "--json")
    with (app / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("# another input\n")
    assert warm.gpuenv(app, "prepare", "--only").code == 0
    active = (app / ".venv").readlink()
    shutil.rmtree(first.data["environment"])

    done = warm.gpuenv(app, "rollback")

    assert done.code == 1
    assert done.message.error == "the environment of `cu13` is gone and cannot be renewed"
    assert done.message.hint == "`gpuenv prepare` makes a new one"
    assert (app / ".venv").readlink() == active


def test_switch_to_a_profile_that_is_not_prepared_fails_with_a_hint(prepared: Prepared) -> None:
    before = prepared.machine.snapshot(prepared.folder)
    done = prepared.gpuenv("switch", "cu11")
    assert done.code == 1
    assert done.message.error == "profile `cu11` is not prepared here"
    assert done.message.causes == ("prepared are `cu13`, `cu12`, `cpu`",)
    assert done.message.hint is not None
    assert done.message.hint.startswith("`gpuenv prepare --profile cu11` prepares it")
    assert prepared.machine.snapshot(prepared.folder) == before


@pytest.mark.parametrize("words", [("switch", "cu13"), ("rollback",), ("run", "--", "true")])
def test_a_project_that_nobody_prepared_has_nothing_to_switch_to(
    machine: Machine, app: Path, words: tuple[str, ...]
) -> None:
    done = machine.gpuenv(app, *words)
    assert done.code == 1
    assert done.message.error
    assert {path.name for path in app.iterdir()} - {".gpuenv"} == {"pyproject.toml", "uv.lock"}


@pytest.mark.parametrize("network", [True, False])
def test_switch_gives_its_line_again_after_a_plain_sync_through_the_link(
    prepared: Prepared, index: IndexSimulator, *, network: bool
) -> None:
    synced = prepared.uv("sync", "--extra", "cu12", network=network)
    assert synced.code == 0, synced.err
    assert line_of(prepared.link) == "cu12"
    done = prepared.gpuenv("switch", "cu13", network=network)
    assert done.code == 0, done.err
    assert "it was made again with 0 bytes from the network" in done.out
    assert line_of(prepared.link) == "cu13"
    assert distributions(prepared.link) == {"common 1.0", "lean-cu13 1.0", "stub-cu13 1.0"}
    assert index.requests == []
    assert prepared.machine.built() == list(prepared.builds)


def test_renewing_what_is_active_makes_no_generation(prepared: Prepared) -> None:
    before = generation(prepared)
    synced = prepared.uv("sync", "--extra", "cu12")
    assert synced.code == 0, synced.err
    done = prepared.gpuenv("switch", "cu13", "--json")
    assert done.data["renewed"] is True
    assert done.data["generation"] == before


def test_keep_takes_a_changed_environment_as_it_is(prepared: Prepared) -> None:
    synced = prepared.uv("sync", "--extra", "cu12")
    assert synced.code == 0, synced.err
    environment = prepared.link.readlink()
    done = prepared.gpuenv("switch", "cu13", "--keep", "--json")
    assert (done.data["renewed"], done.data["drifted"]) == (False, True)
    assert done.data["environment"] == str(environment)
    assert line_of(prepared.link) == "cu12"


DRIFT = (
    "`lean-cu12` 1.0 was added, `lean-cu13` 1.0 was removed, "
    "`stub-cu12` 1.0 was added, `stub-cu13` 1.0 was removed"
)
"""What a plain `uv sync --extra cu12` makes of the environment of cu13."""


def test_prepare_makes_a_changed_environment_again_and_says_so(prepared: Prepared) -> None:
    synced = prepared.uv("sync", "--extra", "cu12")
    assert synced.code == 0, synced.err
    done = prepared.gpuenv("prepare", "--profile", "cu13", "--json", network=False)
    assert done.data["fetched"] == {"files": 0, "bytes": 0}
    assert done.data["notes"][0] == (
        f"the environment of `cu13` was changed: {DRIFT}; it is made again"
    )
    assert line_of(prepared.link) == "cu13"


def test_prepare_keeps_a_changed_environment_where_it_is_told_to(prepared: Prepared) -> None:
    synced = prepared.uv("sync", "--extra", "cu12")
    assert synced.code == 0, synced.err
    environment = prepared.link.readlink()
    done = prepared.gpuenv("prepare", "--profile", "cu13", "--keep", "--json", network=False)
    assert done.data["environment"] == str(environment)
    assert done.data["notes"][0] == (
        f"the environment of `cu13` was changed: {DRIFT}; it is taken as it is"
    )
    assert line_of(prepared.link) == "cu12"


def test_what_a_sync_left_behind_is_active_under_no_other_name(prepared: Prepared) -> None:
    synced = prepared.uv("sync", "--extra", "cu12")
    assert synced.code == 0, synced.err
    changed = prepared.link.readlink()
    done = prepared.gpuenv("switch", "cu12", "--json")
    assert done.data["renewed"] is False
    assert prepared.link.readlink() != changed
    assert line_of(prepared.link) == "cu12"
    back = prepared.gpuenv("switch", "cu13", "--json")
    assert back.data["renewed"] is True
    assert prepared.link.readlink() != changed
    assert line_of(prepared.link) == "cu13"


@pytest.mark.parametrize(
    "words", [("sync", "--extra", "cu12"), ("venv", "--clear")], ids=lambda words: words[0]
)
def test_an_environment_that_uv_made_anew_for_another_python_was_changed(
    prepared: Prepared, other_python: Path, words: tuple[str, ...]
) -> None:
    said = ("run", "--", "python", "-c", "import platform; print(platform.python_version())")
    was = prepared.gpuenv(*said).out.strip()
    done = prepared.uv(*words, "--python", other_python)
    assert done.code == 0, done.err
    now = prepared.gpuenv(*said).out.strip()

    looked = prepared.gpuenv("status", "--json").data["prepared"][0]
    assert (looked["profile"], looked["condition"]) == ("cu13", "changed")
    changes = {item["package"]: (item["was"], item["now"]) for item in looked["changes"]}
    assert changes["python"] == (was, now)
    assert changes["lean-cu13"] == ("1.0", None)
    assert changes.get("lean-cu12") == ((None, "1.0") if words[0] == "sync" else None)

    switched = prepared.gpuenv("switch", "cu13", "--json")
    assert switched.data["renewed"] is True
    assert line_of(prepared.link) == "cu13"


def test_prepare_mends_an_environment_that_leads_to_another_python(
    prepared: Prepared, other_python: Path
) -> None:
    done = prepared.uv("venv", "--allow-existing", "--python", other_python)
    assert done.code == 0, done.err
    assert prepared.gpuenv("switch", "cu13").code == 1
    mended = prepared.gpuenv("prepare", "--json", network=False)
    assert mended.code == 0, mended.err
    assert prepared.gpuenv("status").code == 0
    assert line_of(prepared.link) == "cu13"


def test_status_names_the_packages_that_differ(prepared: Prepared) -> None:
    synced = prepared.uv("sync", "--extra", "cu12")
    assert synced.code == 0, synced.err
    shown = prepared.gpuenv("status")
    assert shown.code == 0, shown.err
    assert f"    {DRIFT}\n" in shown.out
    told = prepared.gpuenv("status", "--json").data["prepared"][0]
    assert (told["profile"], told["condition"]) == ("cu13", "changed")
    assert told["changes"][0] == {
        "package": "lean-cu12",
        "was": None,
        "now": "1.0",
        "message": "`lean-cu12` 1.0 was added",
    }


def test_a_package_of_the_users_own_is_named_and_changes_that_environment_alone(
    prepared: Prepared, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "mine", "2.0")
    others = {name: distributions(prepared.environment(name)) for name in ("cu12", "cpu")}
    added = prepared.uv("pip", "install", "--no-deps", wheel)
    assert added.code == 0, added.err
    (first, *rest) = prepared.gpuenv("status", "--json").data["prepared"]
    assert [item["message"] for item in first["changes"]] == ["`mine` 2.0 was added"]
    assert [item["condition"] for item in rest] == ["intact"] * len(rest)
    assert {item["profile"]: distributions(Path(item["environment"])) for item in rest} == others


def test_run_says_that_a_named_profile_has_other_packages(prepared: Prepared) -> None:
    synced = prepared.uv("sync", "--extra", "cu12")
    assert synced.code == 0, synced.err
    note = f"the environment of `cu13` was changed: {DRIFT}; `gpuenv switch cu13` makes it again\n"
    assert prepared.gpuenv("run", "--profile", "cu13", "--", "true").err == note
    # What is active the users changed themselves.
    for words in ((), ("--profile", "cu12"), ("--profile", "cu13", "--quiet")):
        assert prepared.gpuenv("run", *words, "--", "true").err == ""


def test_a_copied_or_moved_project_gets_environments_of_its_own(prepared: Prepared) -> None:
    machine, original = prepared.machine, prepared.link.readlink()
    before = distributions(original)
    copied = prepared.folder.with_name("copied")
    moved = prepared.folder.with_name("moved")
    shutil.copytree(prepared.folder, copied, symlinks=True)

    def prepared_anew(folder: Path) -> Path:
        done = machine.gpuenv(folder, "prepare", "--target", TARGET, "--json", network=False)
        assert done.code == 0, done.err
        assert done.data["fetched"] == {"files": 0, "bytes": 0}
        return (folder / ".venv").readlink()

    assert (copied / ".venv").readlink() == original
    warning = f"`{copied}/.venv` leads to an environment of `{prepared.folder}`"
    assert warning in machine.gpuenv(copied, "status").out
    told = machine.gpuenv(copied, "status", "--json").data["findings"]
    assert [(item["code"], item["message"]) for item in told] == [
        ("environment-of-another", warning)
    ]
    of_copy = prepared_anew(copied)
    assert machine.gpuenv(copied, "status", "--json").data["findings"] == []
    of_moved = prepared_anew(copied.rename(moved))
    assert len({original, of_copy, of_moved}) == 3
    synced = machine.uv(moved, "sync", "--extra", "cu12")
    assert synced.code == 0, synced.err
    assert [distributions(path) for path in (original, of_copy)] == [before, before]
    assert prepared.link.readlink() == original
    told = prepared.gpuenv("status", "--json").data["prepared"]
    assert {item["condition"] for item in told} == {"intact"}


def test_plain_sync_there_and_back_needs_no_index(machine: Machine, tmp_path: Path) -> None:
    with IndexSimulator() as own:
        publish_packages(own, tmp_path / "packages")
        folder = Project().write(tmp_path / "app", own.index_url)
        done = machine.gpuenv(folder, "prepare", "--target", TARGET)
        assert done.code == 0, done.err
        built = machine.built()
    for line in ("cu12", "cu13"):
        synced = machine.uv(folder, "sync", "--extra", line)
        assert synced.code == 0, synced.err
        assert line_of(folder / ".venv") == line
    again = machine.uv(folder, "sync", "--frozen", "--offline", "--reinstall", "--extra", "cu12")
    assert again.code == 0, again.err
    assert machine.built() == built


def test_a_process_keeps_the_environment_that_it_started_in(prepared: Prepared) -> None:
    code = "import sys; sys.stdin.readline(); import lean, lean_cu13; print(lean.LINE)"
    with subprocess.Popen(
        [prepared.link / "bin" / "python", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=prepared.machine.variables(),
        text=True,
    ) as process:
        done = prepared.gpuenv("switch", "cu12")
        assert done.code == 0, done.err
        out, _ = process.communicate("go\n", timeout=60)
    assert (process.returncode, out) == (0, "cu13\n")
    assert line_of(prepared.link) == "cu12"


def test_uv_run_follows_a_switch(prepared: Prepared) -> None:
    code = "import lean, os, sys; print(lean.LINE, sys.prefix, os.environ['VIRTUAL_ENV'])"
    for line in ("cu13", "cu12", "cu13"):
        assert prepared.gpuenv("switch", line).code == 0
        # uv remembers what the interpreter at the link told.
        done = prepared.uv("run", "--no-sync", "python", "-c", code)
        assert (done.code, done.out) == (0, f"{line} {prepared.link.readlink()} {prepared.link}\n")


def test_run_uses_the_active_environment_or_the_one_that_is_named(prepared: Prepared) -> None:
    code = "import lean, os, sys; print(lean.LINE, os.environ['VIRTUAL_ENV'], sys.argv[1:])"
    words = ["--", "python", "-c", code, "--json", "-q"]
    active = prepared.gpuenv("run", *words)
    cu13, cu12 = prepared.environment("cu13"), prepared.environment("cu12")
    assert active.out == f"cu13 {cu13} ['--json', '-q']\n"
    named = prepared.gpuenv("run", "--profile", "cu12", *words)
    assert named.out == f"cu12 {cu12} ['--json', '-q']\n"
    assert prepared.link.readlink() == cu13


def test_uv_works_in_the_environment_that_run_names(prepared: Prepared) -> None:
    cu13, cu12 = prepared.environment("cu13"), prepared.environment("cu12")
    code = "import sys; print(sys.prefix)"
    words = ["run", "--profile", "cu12", "--"]
    ran = prepared.gpuenv(*words, "uv", "run", "--no-sync", "python", "-c", code)
    assert (ran.code, ran.out, ran.err) == (0, f"{cu12}\n", "")
    synced = prepared.gpuenv(*words, "uv", "sync", "--frozen", "--extra", "cu12", "--check")
    assert synced.code == 0, synced.err
    assert prepared.link.readlink() == cu13


def test_run_answers_with_the_exit_code_of_the_command(prepared: Prepared) -> None:
    done = prepared.gpuenv("run", "--", "python", "-c", "raise SystemExit(42)")
    assert (done.code, done.out, done.err) == (42, "", "")


def test_run_becomes_the_command_which_gets_every_signal_and_all_input(
    prepared: Prepared,
) -> None:
    code = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print(os.getpid(), sys.stdin.readline().strip(), flush=True)
while True:
    signal.pause()
"""
    command = [*GPUENV, "run", "--", "python", "-c", code]
    with subprocess.Popen(
        command,
        cwd=prepared.folder,
        env=prepared.machine.variables(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{process.pid} hello\n"
        process.terminate()
        assert process.wait(timeout=60) == 7


@pytest.mark.parametrize("name", ["PIPE", "XFSZ", "TERM", "INT"])
def test_a_command_of_run_dies_of_a_signal_as_it_would_without(
    prepared: Prepared, name: str
) -> None:
    done = prepared.gpuenv("run", "--", "sh", "-c", f"kill -{name} $$; echo survived")
    assert (done.code, done.out) == (-getattr(signal, f"SIG{name}"), "")


def test_run_of_a_command_that_does_not_exist_is_a_usage_error(prepared: Prepared) -> None:
    done = prepared.gpuenv("run", "--", "no-such-command")
    assert done.code == 2
    assert done.message.error == "cannot run `no-such-command`"


def test_status_tells_what_is_active_and_prepared(prepared: Prepared) -> None:
    done = prepared.gpuenv("status", "--json")
    assert done.data["active"] == "cu13"
    assert done.data["linked"] is True
    assert {item["profile"]: item["condition"] for item in done.data["prepared"]} == {
        "cu13": "intact",
        "cu12": "intact",
        "cpu": "intact",
    }
    assert done.data["findings"] == []


def test_the_history_has_number_time_profile_and_environment_of_every_generation(
    prepared: Prepared,
) -> None:
    numbers = [generation(prepared) + 1, generation(prepared) + 2]
    for profile in ("cu12", "cu13"):
        assert prepared.gpuenv("switch", profile).code == 0
    assert prepared.gpuenv("rollback").code == 0
    data = prepared.gpuenv("status", "--history", "--json").data["generations"]
    done = prepared.gpuenv("status", "--history", given={"TZ": "UTC-2"})
    lines = [line.split() for line in done.out.splitlines() if line.startswith("  generation")]
    assert len(lines) == len(data) > 2
    assert [item["number"] for item in data if item["active"]] == numbers[:1]
    for (_, number, day, time, profile, *mark, environment), item in zip(lines, data, strict=True):
        assert int(number) == item["number"]
        assert datetime.fromisoformat(f"{day} {time}").timestamp() == item["time"]
        assert time.endswith("+02:00")
        assert (profile, environment) == (item["profile"], item["environment"])
        assert mark == (["active"] if item["active"] else [])


def test_many_switches_at_once_end_in_one_whole_state(prepared: Prepared) -> None:
    before = generation(prepared)
    words = [("switch", "cu12"), ("switch", "cpu"), ("rollback",), ("switch", "cu13")] * 2
    started = [prepared.machine.start(prepared.folder, *each, "--json") for each in words]
    ended = [(one.communicate(timeout=120), one.returncode) for one in started]
    assert [code for _, code in ended] == [0] * len(words), ended
    told = [json.loads(out)["data"] for (out, _), _ in ended]
    status = prepared.gpuenv("status", "--json").data
    assert status["findings"] == []
    assert prepared.link.readlink() == prepared.environment(status["active"])
    numbers = [item["number"] for item in status["generations"]]
    assert numbers == list(range(1, len(numbers) + 1))
    # Whatever one was told, the history says too: none has overwritten what another one did.
    profiles = {item["number"]: item["profile"] for item in status["generations"]}
    assert {one["generation"]: one["to"] for one in told}.items() <= profiles.items()
    assert max(numbers) > before
    assert not list(prepared.folder.glob(".venv.*"))


def test_drift_alone_is_a_finding_and_no_failure(prepared: Prepared) -> None:
    synced = prepared.uv("sync", "--extra", "cu12")
    assert synced.code == 0, synced.err
    done = prepared.gpuenv("status", "--json")
    assert [item["code"] for item in done.data["findings"]] == ["environment-changed"]
    said = prepared.gpuenv("status")
    assert said.code == 0
    assert "cu13: changed" in said.out
    assert "hint: `gpuenv switch cu13` makes it again" in said.out


def test_using_an_environment_is_no_drift(prepared: Prepared) -> None:
    code = "import lean, lean_cu13, common, json, unittest"
    used = prepared.machine.run(prepared.folder, ".venv/bin/python", "-c", code)
    assert used.code == 0, used.err
    assert prepared.gpuenv("status", "--json").data["findings"] == []


def test_an_environment_that_is_gone_is_damage_until_a_switch_makes_it_again(
    prepared: Prepared, index: IndexSimulator
) -> None:
    shutil.rmtree(prepared.environment("cu13"))
    damaged = prepared.gpuenv("status", "--json")
    assert damaged.code == 4
    conditions = {i["profile"]: i["condition"] for i in damaged.envelope["data"]["prepared"]}
    assert conditions["cu13"] == "gone"
    kept = prepared.gpuenv("switch", "cu13", "--keep")
    assert kept.code == 4
    done = prepared.gpuenv("switch", "cu13", network=False)
    assert done.code == 0, done.err
    assert line_of(prepared.link) == "cu13"
    assert prepared.gpuenv("status").code == 0
    assert index.requests == []


@pytest.mark.parametrize("kind", ["missing", "foreign"])
def test_a_link_that_leads_elsewhere_is_damage_with_a_hint_that_helps(
    prepared: Prepared, tmp_path: Path, kind: str
) -> None:
    ours = prepared.link.readlink()
    prepared.link.unlink()
    if kind == "foreign":
        prepared.link.symlink_to(tmp_path)
    done = prepared.gpuenv("status")
    hint = done.message.hint
    assert hint is not None
    program, *words = hint.split("`")[1].split()
    mended = prepared.gpuenv(*words)
    later = prepared.gpuenv("status")
    prepared.link.unlink(missing_ok=True)
    prepared.link.symlink_to(ours)
    assert (done.code, program) == (4, "gpuenv")
    said = (done.message.error, *done.message.causes)
    assert f"`{prepared.link}` does not lead to the environment of `cu13`" in said
    assert mended.code == 0, mended.err
    assert later.code == 0, later.err


def test_a_switch_leaves_a_real_venv_alone(prepared: Prepared) -> None:
    ours = prepared.link.readlink()
    prepared.link.unlink()
    prepared.link.mkdir()
    (prepared.link / "precious").touch()
    done = prepared.gpuenv("switch", "cu12")
    stays = (prepared.link / "precious").exists()
    shutil.rmtree(prepared.link)
    prepared.link.symlink_to(ours)
    assert stays
    assert done.code == 8
    assert done.message.error == f"`{prepared.link}` was not made by gpuenv"


def test_a_switch_leaves_a_foreign_link_alone(prepared: Prepared, tmp_path: Path) -> None:
    ours = prepared.link.readlink()
    prepared.link.unlink()
    prepared.link.symlink_to(tmp_path)
    done = prepared.gpuenv("switch", "cu12")
    stays = prepared.link.readlink() == tmp_path
    prepared.link.unlink()
    prepared.link.symlink_to(ours)
    assert stays
    assert done.code == 8
