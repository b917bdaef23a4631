"""`select`, and what it says: what a project would install, policies, reasons, bad input."""

from __future__ import annotations

import json
import platform
import shutil
import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.machine import Machine, distributions
from tests.cli.projects import (
    A100,
    H100,
    H100_OLD_DRIVER,
    V100,
    Project,
    downloads,
    libraries_project,
    profile_text,
    publish_libraries,
    target_data,
)
from tests.simulators.index import IndexSimulator
from tests.simulators.roots import put

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.cli.conftest import Locker
    from tests.cli.machine import Done, Given

HERE = "driver=580.95.05,cuda=13.0,gpus=7.0"
"""A V100 in this machine."""
TENSORRT = "tensorrt_cu12-10.13.0.35-py3-none-any.whl"

needs_x86 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="TensorRT's wheels are told for x86_64"
)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IndexSimulator]:
    """An index with stand-ins for NVIDIA's packages."""
    with IndexSimulator() as index:
        publish_libraries(index, tmp_path_factory.mktemp("libraries"))
        yield index


@dataclass(frozen=True)
class Seen:
    """A locked project that is only looked at."""

    machine: Machine
    folder: Path

    def select(self, *words: str | Path) -> Done:
        """Select for it."""
        return self.machine.gpuenv(self.folder, "select", *words)

    def data(self, *words: str | Path) -> dict[str, Any]:
        """What `select --json` says of it, where something fits."""
        return self.select("--json", *words).data


def lock_once(
    root: Path, machine: Machine, project: Project, index: IndexSimulator, locker: Locker
) -> Seen:
    folder = project.write(root / "app", index.index_url)
    locker.lock(folder)
    return Seen(machine, folder)


@pytest.fixture(scope="module")
def volta_pinned_out(
    tmp_path_factory: pytest.TempPathFactory,
    looker: Machine,
    libraries: IndexSimulator,
    locker: Locker,
) -> Seen:
    """A project that locks a TensorRT without code for Volta."""
    project = libraries_project(cu12=["tensorrt-cu12==10.13.0.35"])
    return lock_once(tmp_path_factory.mktemp("pinned"), looker, project, libraries, locker)


@pytest.fixture(scope="module")
def two_lines(
    tmp_path_factory: pytest.TempPathFactory,
    looker: Machine,
    index_server: IndexSimulator,
    locker: Locker,
) -> Seen:
    """A project with both CUDA lines."""
    root = tmp_path_factory.mktemp("two")
    return lock_once(root, looker, Project(), index_server, locker)


@pytest.fixture(scope="module")
def one_line(
    tmp_path_factory: pytest.TempPathFactory,
    looker: Machine,
    index_server: IndexSimulator,
    locker: Locker,
) -> Seen:
    """A project with the newer CUDA line alone."""
    root = tmp_path_factory.mktemp("one")
    return lock_once(root, looker, Project(lines=("cu13",)), index_server, locker)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved target with a V100 and an H100."""
    path = tmp_path_factory.mktemp("mixed") / "mixed.json"
    path.write_text(json.dumps(target_data("7.0", "9.0")), encoding="utf-8")
    return path


def candidate(data: Mapping[str, Any], profile: str) -> dict[str, Any]:
    (found,) = (item for item in data["candidates"] if item["profile"] == profile)
    assert isinstance(found, dict)
    return found


def codes(reasons: list[dict[str, Any]]) -> list[str]:
    return [reason["code"] for reason in reasons]


# A lock that pins what the GPUs cannot run.


def test_a_locked_package_without_code_for_the_gpu_is_a_warning_with_the_nearest_version(
    volta_pinned_out: Seen,
) -> None:
    data = volta_pinned_out.data("--target", V100)
    assert (data["profile"], data["usable"]) == ("cu12", ["cu12", "cpu"])
    (warning,) = data["warnings"]
    assert warning["code"] == "artefact-no-code"
    for literal in ("`tensorrt-cu12`", "`10.13.0.35`", "`7.0`"):
        assert literal in warning["message"]
    assert "`10.4.0`" in warning["hint"]
    assert "10.5" in warning["source"]
    assert candidate(data, "cu12")["warnings"] == [warning]


def test_the_same_lock_is_no_matter_for_a_gpu_that_it_has_code_for(volta_pinned_out: Seen) -> None:
    data = volta_pinned_out.data("--target", A100)
    assert (data["profile"], data["warnings"]) == ("cu12", [])


def test_prepare_refuses_what_the_gpu_cannot_run_and_leaves_everything(
    machine: Machine, volta_pinned_out: Seen, libraries: IndexSimulator, tmp_path: Path
) -> None:
    app = tmp_path / "app"
    shutil.copytree(volta_pinned_out.folder, app)
    libraries.reset_log()
    before = machine.snapshot(app)
    done = machine.gpuenv(app, "prepare", "--target", V100)
    assert done.code == 7
    (cause,) = done.message.causes
    assert "`tensorrt-cu12` `10.13.0.35`" in cause
    assert "`7.0`" in cause
    assert done.message.hint is not None
    assert "`10.4.0`" in done.message.hint
    # The target alone is remembered.
    assert replace(machine.snapshot(app), state=None) == before
    assert libraries.requests == []


@needs_x86
def test_force_installs_what_the_gpu_cannot_run_and_says_so(
    machine: Machine, volta_pinned_out: Seen, libraries: IndexSimulator, tmp_path: Path
) -> None:
    app = tmp_path / "app"
    shutil.copytree(volta_pinned_out.folder, app)
    libraries.reset_log()
    words = ("--profile", "cu12", "--force", "--target", HERE)
    done = machine.gpuenv(app, "prepare", "--json", *words)
    assert (done.data["profile"], done.data["active"]) == ("cu12", "cu12")
    assert any("`10.13.0.35`" in warning for warning in done.data["warnings"])
    assert downloads(libraries)[TENSORRT] == 1
    assert "tensorrt-cu12 10.13.0.35" in {
        name.replace("_", "-") for name in distributions(app / ".venv")
    }


def test_the_cpu_can_be_prepared_beside_a_lock_that_the_gpu_cannot_run(
    machine: Machine, volta_pinned_out: Seen, libraries: IndexSimulator, tmp_path: Path
) -> None:
    app = tmp_path / "app"
    shutil.copytree(volta_pinned_out.folder, app)
    libraries.reset_log()
    done = machine.gpuenv(app, "prepare", "--json", "--profile", "cpu", "--target", V100)
    assert done.data["prepared"] == ["cpu"]
    assert downloads(libraries)[TENSORRT] == 0


def test_a_line_without_a_gap_comes_before_a_newer_one_with_one(
    looker: Machine, libraries: IndexSimulator, locker: Locker, tmp_path: Path
) -> None:
    # TensorRT 10.13.3.9 cannot be installed for CUDA 13 (NVIDIA/TensorRT#4614).
    project = libraries_project(
        cu12=["tensorrt-cu12==10.13.0.35"], cu13=["tensorrt-cu13==10.13.3.9"]
    )
    seen = lock_once(tmp_path, looker, project, libraries, locker)
    data = seen.data("--target", H100)
    assert data["profile"] == "cu12"
    # It is usable all the same: it is the set of this lock that lacks something.
    assert sorted(data["usable"]) == ["cpu", "cu12", "cu13"]
    (gap,) = candidate(data, "cu13")["warnings"]
    assert "`tensorrt-cu13` `10.13.3.9`" in gap["message"]
    assert "4614" in gap["source"]
    assert data["warnings"] == []
    # Only what runs is prepared beside the choice.
    plan = looker.gpuenv(seen.folder, "prepare", "--dry-run", "--json", "--target", H100)
    assert plan.data["prepared"] == ["cu12", "cpu"]


# No lock, and no project of uv's: gpuenv resolves.


@pytest.fixture
def plain(libraries: IndexSimulator, index: IndexSimulator, tmp_path: Path) -> tuple[Path, Given]:
    """A project that needs any TensorRT for CUDA 12, and the index for the rest."""
    return write_plain(tmp_path / "plain", "tensorrt-cu12", libraries, index)


def write_plain(
    folder: Path, requirement: str, libraries: IndexSimulator, index: IndexSimulator
) -> tuple[Path, Given]:
    more = f'\n[project.optional-dependencies]\ncu12 = ["{requirement}"]\n'
    project = Project(uv=False, lines=(), table="dependency-groups", more=more)
    project.write(folder, index.index_url)
    (folder / "profiles").mkdir()
    text = profile_text("cu12", "12", libraries.index_url)
    (folder / "profiles" / "cu12.yaml").write_text(text, encoding="utf-8")
    return folder, {"UV_DEFAULT_INDEX": index.index_url}


def locked_versions(folder: Path) -> dict[str, str]:
    lock = tomllib.loads((folder / "pylock.cu12.toml").read_text(encoding="utf-8"))
    return {package["name"]: package["version"] for package in lock["packages"]}


@pytest.mark.parametrize(
    ("target", "version"), [(V100, "10.4.0"), (A100, "10.13.0.35")], ids=["v100", "a100"]
)
def test_a_new_lock_has_the_newest_version_that_the_gpu_runs(
    machine: Machine, plain: tuple[Path, Given], target: str, version: str
) -> None:
    folder, given = plain
    done = machine.gpuenv(folder, "lock", "--target", target, given=given)
    assert done.code == 0, done.err
    assert locked_versions(folder) == {"common": "1.0", "tensorrt-cu12": version}
    data = machine.gpuenv(folder, "select", "--json", "--target", target, given=given).data
    assert (data["profile"], data["warnings"]) == ("cu12", [])


def test_prepare_without_a_lock_fetches_the_version_that_the_gpu_runs(
    machine: Machine, plain: tuple[Path, Given], libraries: IndexSimulator
) -> None:
    folder, given = plain
    libraries.reset_log()
    words = ("prepare", "--fetch-only", "--json", "--target", V100)
    assert machine.gpuenv(folder, *words, given=given).data["profile"] == "cu12"
    fetched = {name for name in downloads(libraries) if name.startswith("tensorrt")}
    assert fetched == {"tensorrt_cu12-10.4.0-py3-none-any.whl"}


def test_a_lock_that_was_made_for_another_gpu_is_refused_not_changed(
    machine: Machine, plain: tuple[Path, Given]
) -> None:
    folder, given = plain
    assert machine.gpuenv(folder, "lock", "--target", A100, given=given).code == 0
    written = (folder / "pylock.cu12.toml").read_bytes()
    done = machine.gpuenv(folder, "prepare", "--target", V100, given=given)
    assert done.code == 7
    assert any("`10.13.0.35`" in cause for cause in done.message.causes)
    assert (folder / "pylock.cu12.toml").read_bytes() == written


@pytest.fixture
def contradiction(
    libraries: IndexSimulator, index: IndexSimulator, tmp_path: Path
) -> tuple[Path, Given]:
    """A project that needs a TensorRT for CUDA 12 of which no version has code for Volta."""
    return write_plain(tmp_path / "plain", "tensorrt-cu12>=10.5", libraries, index)


def test_a_requirement_that_no_version_for_the_gpu_meets_names_the_constraint_and_why(
    machine: Machine, contradiction: tuple[Path, Given]
) -> None:
    folder, given = contradiction
    done = machine.gpuenv(folder, "lock", "--target", V100, given=given)
    assert done.code in {1, 7}
    assert any("tensorrt-cu12>=10.5" in cause for cause in done.message.causes)
    assert any(
        "`tensorrt-cu12<10.5`" in cause and "`7.0`" in cause for cause in done.message.causes
    )
    assert not (folder / "pylock.cu12.toml").exists()
    # The same project is no problem for a GPU that newer versions have code for.
    assert machine.gpuenv(folder, "lock", "--target", A100, given=given).code == 0
    assert locked_versions(folder)["tensorrt-cu12"] == "10.13.0.35"


def test_a_resolution_that_fails_blames_no_constraint_on_other_packages(
    machine: Machine, contradiction: tuple[Path, Given]
) -> None:
    folder, given = contradiction
    done = machine.gpuenv(folder, "lock", "--target", V100, given=given)
    assert [c for c in done.message.causes if "torch" in c or "cudnn" in c] == []


def test_select_warns_of_a_requirement_that_no_version_for_the_gpu_meets(
    machine: Machine, contradiction: tuple[Path, Given]
) -> None:
    folder, given = contradiction
    data = machine.gpuenv(folder, "select", "--json", "--target", V100, given=given).data
    assert any("tensorrt-cu12" in warning["message"] for warning in data["warnings"])


# Policies for GPUs that differ.


@pytest.mark.parametrize(
    ("policy", "profile"),
    [
        ("all", "cu12"),
        ("0", "cu12"),
        ("1", "cu13"),
        ("0,1", "cu12"),
        ("GPU-10000000-0000-0000-0000-000000000000", "cu13"),
    ],
)
def test_a_list_decides_which_gpus_count_and_all_is_what_counts_without(
    two_lines: Seen, mixed: Path, policy: str, profile: str
) -> None:
    data = two_lines.data("--target", mixed, "--gpu-policy", policy)
    assert (data["profile"], data["warnings"]) == (profile, [])


@pytest.mark.parametrize("policy", ["best", "any"])
def test_a_policy_that_leaves_a_gpu_out_says_which(
    two_lines: Seen, mixed: Path, policy: str
) -> None:
    data = two_lines.data("--target", mixed, "--gpu-policy", policy)
    assert data["profile"] == "cu13"
    (warning,) = data["warnings"]
    assert warning["code"] == "gpu-left-out"
    for literal in ("GPU 0", "`7.0`", "`cu13`"):
        assert literal in warning["message"]
    assert candidate(data, "cu13")["gpus"] == [1]


@pytest.mark.parametrize("policy", ["7", "0,7", "GPU-ab"])
def test_a_list_of_gpus_that_are_not_there_is_2_and_names_those_that_are(
    two_lines: Seen, mixed: Path, policy: str
) -> None:
    done = two_lines.select("--target", mixed, "--gpu-policy", policy)
    assert (done.code, done.out) == (2, "")
    missing, there = done.message.causes
    assert f"`{policy.removeprefix('0,')}`" in missing
    for literal in ("GPU 0", "`7.0`", "GPU 1", "`9.0`"):
        assert literal in there


@pytest.mark.parametrize("policy", ["most", "", "0;1", "-1"])
def test_a_policy_that_is_none_is_2_and_shows_what_is_one(
    two_lines: Seen, mixed: Path, policy: str
) -> None:
    done = two_lines.select("--target", mixed, f"--gpu-policy={policy}")
    assert (done.code, done.out) == (2, "")
    what = f"`--gpu-policy {policy}` is not a policy" if policy else "`--gpu-policy` is empty"
    assert done.message.error == what
    assert done.message.hint is not None


def test_where_the_gpus_have_no_line_in_common_the_alternatives_are_named(
    one_line: Seen, mixed: Path
) -> None:
    done = one_line.select("--json", "--target", mixed)
    assert done.code == 7
    causes = done.message.causes
    assert any("`cu13` has no code for" in cause and "`7.0`" in cause for cause in causes)
    for policy in ("best", "any"):
        (named,) = (cause for cause in causes if f"`--gpu-policy {policy}`" in cause)
        assert "`cu13`" in named
        assert "GPU 0" in named
        # What it promises is so.
        data = one_line.data("--target", mixed, "--gpu-policy", policy)
        assert data["profile"] == "cu13"
    assert done.envelope["data"]["usable"] == ["cpu"]
    assert done.message.hint is not None


def test_prepare_keeps_to_the_policy(two_lines: Seen, mixed: Path) -> None:
    words = ("prepare", "--dry-run", "--json", "--target", mixed)
    best = two_lines.machine.gpuenv(two_lines.folder, *words, "--gpu-policy", "best").data
    assert (best["profile"], best["prepared"]) == ("cu13", ["cu13", "cu12", "cpu"])
    every = two_lines.machine.gpuenv(two_lines.folder, *words).data
    assert (every["profile"], every["prepared"]) == ("cu12", ["cu12", "cpu"])


# What is said.


def test_the_text_tells_each_profile_in_question_with_rule_and_remedy(two_lines: Seen) -> None:
    done = two_lines.select("--target", H100_OLD_DRIVER)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    verdicts = [tuple(line.split()) for line in lines if line[2:3].strip() and line[:2] == "  "]
    assert verdicts[:3] == [("cu13", "rejected"), ("cu12", "chosen"), ("cpu", "usable")]
    start = lines.index(next(line for line in lines if line.split() == ["cu13", "rejected"]))
    because, rule, hint = (line.strip() for line in lines[start + 1 : start + 4])
    assert because == "because: `cu13` needs driver >=580, host has `570.124.06`"
    assert rule.startswith("rule: https://docs.nvidia.com/")
    assert hint.startswith("hint: update the driver to 580")


def test_profiles_out_of_question_are_one_line(two_lines: Seen) -> None:
    done = two_lines.select("--target", H100)
    (line,) = (line for line in done.out.splitlines() if "cu118" in line)
    assert line.strip().startswith("not in question here: ")
    named = set(line.partition(": ")[2].split(", "))
    data = two_lines.data("--target", H100)
    assert named == {item["profile"] for item in data["candidates"]} - {"cu13", "cu12", "cpu"}


def test_every_reason_in_json_has_code_message_source_and_hint(two_lines: Seen) -> None:
    data = two_lines.data("--target", H100_OLD_DRIVER)
    told = [reason for item in data["candidates"] for reason in item["reasons"]]
    assert told
    assert all(set(reason) == {"code", "message", "source", "hint"} for reason in told)
    assert all(reason["code"] and reason["message"] for reason in told)
    (reason,) = candidate(data, "cu13")["reasons"]
    assert reason["code"] == "driver-too-old"
    assert reason["source"].startswith("https://")
    assert "580" in reason["hint"]


def test_rules_about_the_host_name_their_source(two_lines: Seen) -> None:
    of_the_project = {"extra-not-defined", "no-gpu"}
    for target in (V100, H100_OLD_DRIVER, "driver=525.60.13,cuda=12.0,gpus=12.0,machine=x86_64"):
        done = two_lines.select("--json", "--target", target)
        for item in done.envelope["data"]["candidates"]:
            for reason in item["reasons"]:
                assert reason["source"] or reason["code"] in of_the_project, reason


def test_a_remedy_asks_for_nothing_that_the_host_has_already(two_lines: Seen) -> None:
    # The driver is new enough; it is the CUDA version that was said to be lower.
    data = two_lines.data("--target", "driver=580.95.05,cuda=12.8,gpus=9.0")
    (reason,) = candidate(data, "cu13")["reasons"]
    assert "`12.8`" in reason["message"]
    assert "update the driver to 580" not in (reason["hint"] or "")


def test_where_nothing_fits_the_remedy_of_each_rejection_is_said(two_lines: Seen) -> None:
    done = two_lines.select("--target", "driver=590.44.01,cuda=13.1,gpus=7.0")
    assert done.code == 7
    assert "a driver of branch 580" in done.out + done.err


# Bad input.


def write(path: Path, data: object) -> Path:
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_all_faults_of_a_target_file_are_told_at_once_each_with_its_path(
    looker: Machine, tmp_path: Path
) -> None:
    data: dict[str, Any] = target_data("9.0", "8.0", colour="red", findings=[{"message": 3}])
    data["platform"] |= {"class": "mainframe", "libc": ["glibc"], "kernel": "6.1"}
    data["driver"] = {"version": 580, "cuda": "new", "branch": "R580"}
    data["gpus"][0] |= {"speed": 3, "index": "first", "status": "asleep"}
    data["gpus"][1] |= {"compute_capability": "fast", "memory_bytes": True}
    data["python"] = 3.11
    done = looker.gpuenv(tmp_path, "select", "--target", write(tmp_path / "bad.json", data))
    assert (done.code, done.out) == (2, "")
    assert {cause.split("`")[1] for cause in done.message.causes} == {
        "colour",
        "platform.kernel",
        "platform.class",
        "platform.libc",
        "driver.branch",
        "driver.version",
        "driver.cuda",
        "gpus[0].speed",
        "gpus[0].index",
        "gpus[0].status",
        "gpus[1].compute_capability",
        "gpus[1].memory_bytes",
        "findings[0].message",
        "findings[0].code",
        "python",
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("platform", None),
        ("driver", "580.95.05"),
        ("gpus", {"0": "9.0"}),
        ("findings", "none"),
        ("sources", 3),
        ("python", ["3.11"]),
    ],
)
def test_a_key_of_a_target_file_with_another_type_is_2_and_named(
    looker: Machine, tmp_path: Path, key: str, value: object
) -> None:
    path = write(tmp_path / "bad.json", {**target_data("9.0"), key: value})
    done = looker.gpuenv(tmp_path, "select", "--target", path)
    assert (done.code, done.out) == (2, "")
    assert [cause.split("`")[1] for cause in done.message.causes] == [key]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"driver=580.95.05"', "{}"])
def test_a_file_that_is_no_target_is_2(looker: Machine, tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    done = looker.gpuenv(tmp_path, "select", "--target", path)
    assert (done.code, done.out) == (2, "")
    assert done.message.error == f"target `{path}` is not valid"
    assert done.message.causes


def test_two_gpus_of_one_index_are_refused(looker: Machine, tmp_path: Path) -> None:
    data: dict[str, Any] = target_data("9.0", "8.0")
    data["gpus"][1]["index"] = 0
    done = looker.gpuenv(tmp_path, "select", "--target", write(tmp_path / "bad.json", data))
    assert done.code == 2
    assert "gpus[1].index" in done.err


def test_a_driver_that_no_longer_knows_the_gpu_is_flagged_and_nothing_is_chosen(
    two_lines: Seen, tmp_path: Path
) -> None:
    path = write(tmp_path / "volta.json", target_data("7.0", driver="590.44.01", cuda="13.1"))
    detected = two_lines.machine.gpuenv(two_lines.folder, "detect", "--json", "--target", path)
    (finding,) = detected.data["findings"]
    assert finding["code"] == "gpu-unknown-to-driver"
    assert "gpus[0]" in finding["message"]
    assert "`590.44.01`" in finding["message"]
    assert "580" in finding["hint"]
    done = two_lines.select("--json", "--target", path)
    assert done.code == 7
    for line in ("cu13", "cu12"):
        reasons = candidate(done.envelope["data"], line)["reasons"]
        (reason,) = (item for item in reasons if item["code"] == "gpu-unknown-to-driver")
        assert "`590.44.01`" in reason["message"]
        # An older driver makes one line fit; the other has no code for Volta with any driver.
        assert reason["hint"] == ("install a driver of branch 580" if line == "cu12" else None)


def test_an_override_that_contradicts_the_machine_is_obeyed_and_shown(
    looker: Machine, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    put(root, "sys/module/nvidia/version", "570.124.06\n")
    put(
        root,
        "proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.124.06  Thu Oct 19 2023\n",
    )
    folder = tmp_path / "empty"
    folder.mkdir()
    given = {"GPUENV_ROOT": str(root), "GPUENV_DRIVER": "580.95.05", "GPUENV_GPUS": "9.0"}
    data = looker.gpuenv(folder, "detect", "--json", given=given).data
    assert data["driver"]["version"] == "580.95.05"
    assert data["sources"]["driver"] == "overridden by `GPUENV_DRIVER`"
    (finding,) = data["findings"]
    assert finding["code"] == "override-contradicts"
    assert "`580.95.05`" in finding["message"]
    assert "`570.124.06`" in finding["message"]


def test_overrides_that_contradict_each_other_choose_nothing_and_say_which(
    looker: Machine, two_lines: Seen, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    given = {"GPUENV_ROOT": str(root), "GPUENV_DRIVER": "590.44.01", "GPUENV_GPUS": "7.0"}
    done = looker.gpuenv(two_lines.folder, "select", given=given)
    assert done.code == 7
    assert any("`7.0`" in cause and "`590.44.01`" in cause for cause in done.message.causes)
    detected = looker.gpuenv(two_lines.folder, "detect", "--json", given=given).data
    assert codes(detected["findings"]) == ["gpu-unknown-to-driver"]
