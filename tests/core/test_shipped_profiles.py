"""The profiles and tables that ship with gpuenv."""

from __future__ import annotations

import json
from datetime import date
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement

from provisioner.adapters.profiles import profile_files, shipped_folder
from provisioner.core.artefacts import torch_label
from provisioner.core.facts import cuda_of_label
from provisioner.core.target_json import target_from_json, target_to_json
from provisioner.core.version import ComputeCapability
from tests.core.examples import shipped_facts, shipped_profiles, version

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.core.profile import Profile

FACTS = shipped_folder() / "facts"
TABLES = sorted(FACTS.glob("*.json"))
PROFILES = shipped_profiles()
CUDA_PROFILES = tuple(profile for profile in PROFILES if profile.cuda is not None)

MAJOR_LINES = {"cu13": "13", "cu12": "12", "cu11": "11", "cpu": None}
MINOR_LINES = {
    "cu118": "11.8",
    "cu121": "12.1",
    "cu124": "12.4",
    "cu126": "12.6",
    "cu128": "12.8",
    "cu129": "12.9",
    "cu130": "13.0",
    "cu132": "13.2",
}
HOSTS = sorted((shipped_folder() / "hosts").iterdir())
KEYS = {
    "architectures": ("compute_capability",),
    "cuda_libraries": ("name",),
    "cuda_toolkit_pins": ("toolkit",),
    "cudnn_code": ("cuda", "first"),
    "driver_branches": ("branch",),
    "driver_floors": ("cuda",),
    "forward_compat": ("cuda",),
    "tensorrt_bad": ("tensorrt", "cuda"),
    "tensorrt_code": ("package", "first", "source"),
    "tensorrt_cuda": ("first", "system"),
    "tensorrt_wheels": ("tensorrt", "cuda"),
    "toolkit_code": ("cuda",),
    "torch_builds": ("index", "first", "machine", "systems"),
    "torch_defaults": ("first", "machine"),
    "torch_pythons": ("first", "machines"),
    "torch_wheels": ("first", "index", "machine"),
}
"""What a row of each table is about."""


def table(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FACTS / name).read_text(encoding="utf-8"))
    return loaded


def by_name(name: str) -> Profile:
    return next(profile for profile in PROFILES if profile.name == name)


def test_every_shipped_file_is_a_profile_named_like_its_file() -> None:
    files = profile_files((shipped_folder(),))
    assert sorted(path.stem for path in files) == sorted(profile.name for profile in PROFILES)


@pytest.mark.parametrize(("name", "cuda"), MAJOR_LINES.items())
def test_every_major_line_ships(name: str, cuda: str | None) -> None:
    assert by_name(name).cuda == (None if cuda is None else version(cuda))


@pytest.mark.parametrize(("name", "cuda"), MINOR_LINES.items())
def test_every_minor_line_ships_with_the_index_of_its_builds(name: str, cuda: str) -> None:
    profile = by_name(name)
    assert profile.cuda == version(cuda)
    assert profile.requirements is None
    assert torch_label(profile) == name
    assert cuda_of_label(name) == profile.cuda
    assert name in {build.label for build in shipped_facts().torch_builds}


@pytest.mark.parametrize("name", MAJOR_LINES)
def test_a_major_line_has_no_index_of_pytorch(name: str) -> None:
    assert torch_label(by_name(name)) is None


@pytest.mark.parametrize("path", HOSTS, ids=lambda path: path.stem)
def test_every_example_host_is_a_target_as_it_would_be_saved(path: Path) -> None:
    saved = json.loads(path.read_text(encoding="utf-8"))
    read = target_from_json(saved, path.name)
    written = target_to_json(read)
    volatile = {"sources", "findings"}
    assert {key: written[key] for key in written.keys() - volatile} == {
        key: saved[key] for key in saved.keys() - volatile
    }
    assert saved["findings"] == []


@pytest.mark.parametrize("path", HOSTS, ids=lambda path: path.stem)
def test_the_driver_of_every_example_host_drives_its_gpus(path: Path) -> None:
    host = target_from_json(json.loads(path.read_text(encoding="utf-8")), path.name).host
    facts = shipped_facts()
    if host.driver is None or host.driver.version is None:
        return
    branch = facts.branch(host.driver.version)
    assert branch is not None
    discrete = [gpu.compute_capability for gpu in host.gpus if not gpu.integrated]
    assert set(discrete) <= set(facts.known_to(branch))
    if host.driver.compat is None:
        assert host.driver.cuda == facts.natural_cuda(host.driver.version)


def test_example_hosts_are_named_by_what_they_show() -> None:
    assert {path.suffix for path in HOSTS} == {".json"}
    assert {"v100-h100-r580", "jetson-thor", "amazon-linux-2", "alpine", "no-gpu"} <= {
        path.stem for path in HOSTS
    }


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_profile_turns_on_the_extra_of_its_own_name(profile: Profile) -> None:
    assert profile.extras[0] == profile.name


def test_no_extra_belongs_to_two_profiles() -> None:
    for one, other in combinations(PROFILES, 2):
        assert not set(one.extras) & set(other.extras), (one.name, other.name)


def test_the_cpu_profile_installs_nothing_and_needs_nothing() -> None:
    cpu = by_name("cpu")
    assert cpu.requirements == ()
    assert cpu.needs == ()
    assert cpu.indexes == ()


@pytest.mark.parametrize("name", ["cu13", "cu12", "cu11"])
def test_a_major_line_names_the_tensorrt_of_its_own_cuda(name: str) -> None:
    requirements = [Requirement(text) for text in by_name(name).requirements or ()]
    assert [item.name for item in requirements] == [f"tensorrt-{name}", "cuda-toolkit"]
    assert str(requirements[1].specifier) == f"=={MAJOR_LINES[name]}.*"


@pytest.mark.parametrize("profile", CUDA_PROFILES, ids=lambda profile: profile.name)
def test_files_of_every_index_are_immutable_and_its_pages_are_not(profile: Profile) -> None:
    for index in profile.indexes:
        assert "immutable" in (index.cache_control.files or "")
        assert "immutable" not in (index.cache_control.api or "")


@pytest.mark.parametrize("profile", CUDA_PROFILES, ids=lambda profile: profile.name)
def test_the_tables_know_every_shipped_line(profile: Profile) -> None:
    assert profile.cuda is not None
    facts = shipped_facts()
    assert facts.floor(profile.cuda) is not None
    assert facts.code(profile.cuda)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_every_row_of_every_table_has_a_named_source_and_a_date(path: Path) -> None:
    data = table(path.name)
    assert data["about"]
    assert data["rows"]
    for row in data["rows"]:
        assert data["sources"].get(row.get("source")), row
        assert date.fromisoformat(row["date"]).year >= 2026, row


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_every_named_source_is_used(path: Path) -> None:
    data = table(path.name)
    assert {row["source"] for row in data["rows"]} == set(data["sources"])


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_no_table_says_two_things_about_one(path: Path) -> None:
    named = [tuple(str(row[key]) for key in KEYS[path.stem]) for row in table(path.name)["rows"]]
    assert len(set(named)) == len(named)


def test_every_table_is_looked_at_here() -> None:
    assert [path.stem for path in TABLES] == sorted(KEYS)


@pytest.mark.parametrize(
    ("cuda", "linux", "windows"),
    [("13", "580", "580"), ("12", "525.60.13", "528.33"), ("11", "450.80.02", "452.39")],
)
def test_the_floors_are_those_that_nvidia_gives(cuda: str, linux: str, windows: str) -> None:
    floor = shipped_facts().floor(version(cuda))
    assert floor is not None
    assert (str(floor.linux), str(floor.windows)) == (linux, windows)


@pytest.mark.parametrize(
    ("cuda", "oldest", "newest"),
    [("11", "3.5", "9.0"), ("12", "5.0", "12.1"), ("13", "7.5", "12.1"), ("12.6", "5.0", "9.0")],
)
def test_the_code_of_a_line_begins_and_ends_where_nvidia_says(
    cuda: str, oldest: str, newest: str
) -> None:
    code = shipped_facts().code(version(cuda))
    assert (str(code[0]), str(code[-1])) == (oldest, newest)


def test_newer_driver_branches_run_newer_cuda() -> None:
    rows = sorted(table("driver_branches.json")["rows"], key=lambda row: version(row["branch"]))
    runs = [version(row["cuda"]) for row in rows]
    assert runs == sorted(runs)


def test_a_toolkit_has_code_only_for_gpus_that_it_came_after() -> None:
    architectures = {
        ComputeCapability.parse(row["compute_capability"]): row
        for row in table("architectures.json")["rows"]
    }
    for row in shipped_facts().toolkits:
        for item in row.capabilities:
            if item not in architectures:
                continue
            known = architectures[item]
            assert row.cuda >= version(known["first_toolkit"]), (str(row.cuda), str(item))
            last = known["last_toolkit_major"]
            assert last is None or row.cuda.major <= int(last), (str(row.cuda), str(item))


def test_newer_builds_of_an_index_come_after_older_ones() -> None:
    builds = shipped_facts().torch_builds
    for one, other in combinations(builds, 2):
        if one.label == other.label and one.machine == other.machine:
            if not set(one.systems) & set(other.systems):
                continue
            assert one.last is not None
            assert other.first is not None
            assert one.last < other.first, one.label


def test_a_build_of_pytorch_has_code_only_that_its_toolkit_can_generate() -> None:
    facts = shipped_facts()
    for build in facts.torch_builds:
        possible = {str(item) for item in facts.code(build.cuda)}
        assert {*build.code.sass, *build.code.ptx} <= possible, build


def test_the_first_driver_of_a_gpu_came_with_its_first_toolkit() -> None:
    facts = shipped_facts()
    for row in table("architectures.json")["rows"]:
        first = row["first_driver_branch"]
        natural = facts.natural_cuda(version(first)) if first else None
        if natural is not None:
            assert natural >= version(row["first_toolkit"]), row
            assert row["inferred"] == ["first_driver_branch"]


def test_forward_compatibility_is_for_branches_older_than_its_own() -> None:
    facts = shipped_facts()
    for row in facts.forward_compat:
        for branch in row.branches:
            natural = facts.natural_cuda(version(str(branch)))
            assert natural is not None
            assert natural < row.cuda, (str(row.cuda), branch)
