"""Compatibility tables: what a CUDA line needs, and for which GPUs it has code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from provisioner.core.facts import (
    Facts,
    cuda_of_label,
    driver_numbering,
    leading_version,
    read_facts,
)
from tests.core.examples import EMPTY, capability, host, shipped_facts, version

FLOORS: dict[str, Any] = {
    "sources": {"minor": "https://example.test/minor"},
    "rows": [
        {
            "source": "minor",
            "cuda": "12.0",
            "minor_version_compatibility": True,
            "linux": "525.60.13",
            "windows": "528.33",
        },
        {
            "source": "minor",
            "cuda": "10.2",
            "minor_version_compatibility": False,
            "linux": "440.33",
            "windows": "441.22",
        },
    ],
}
CODE: dict[str, Any] = {
    "sources": {"asked": "a library that was asked"},
    "rows": [
        {"source": "asked", "cuda": "12.6", "compute_capabilities": ["9.0", "7.0"]},
        {"source": "asked", "cuda": "12.8", "compute_capabilities": ["9.0", "12.0"]},
        {"source": "asked", "cuda": "11.8", "compute_capabilities": ["3.5"]},
    ],
}
FACTS = read_facts(FLOORS, CODE)


def code(cuda: str, facts: Facts = FACTS) -> list[str]:
    return [str(item) for item in facts.code(version(cuda))]


@pytest.mark.parametrize("cuda", ["12", "12.0", "12.8", "12.99"])
def test_a_floor_with_minor_compatibility_holds_for_the_whole_major(cuda: str) -> None:
    floor = FACTS.floor(version(cuda))
    assert floor is not None
    assert str(floor.linux) == "525.60.13"


def test_a_floor_without_minor_compatibility_holds_for_its_own_version() -> None:
    floor = FACTS.floor(version("10.2"))
    assert floor is not None
    assert str(floor.linux) == "440.33"
    assert FACTS.floor(version("10.1")) is None


def test_a_line_that_no_table_knows_has_no_floor() -> None:
    assert FACTS.floor(version("14")) is None


def test_each_system_has_its_own_numbers() -> None:
    floor = FACTS.floor(version("12"))
    assert floor is not None
    assert str(floor.for_system("windows")) == "528.33"
    assert str(floor.for_system("linux")) == "525.60.13"


def test_a_line_has_the_code_of_all_its_minor_versions_in_order() -> None:
    assert code("12") == ["7.0", "9.0", "12.0"]


def test_a_minor_version_has_only_its_own_code() -> None:
    assert code("12.6") == ["7.0", "9.0"]


def test_a_minor_version_between_two_rows_has_the_code_of_the_older_one() -> None:
    assert code("12.7") == ["7.0", "9.0"]


def test_a_minor_version_newer_than_the_tables_has_the_code_of_the_newest_one() -> None:
    assert code("12.10") == ["9.0", "12.0"]


def test_a_line_that_no_table_knows_has_no_code() -> None:
    assert code("13") == []
    assert code("12.5") == []


def test_the_newest_compute_capability_is_the_greatest_of_any_row() -> None:
    assert FACTS.newest_capability == capability("12.0")


def test_a_rule_holds_the_whole_text_of_its_source() -> None:
    floor = FACTS.floor(version("12"))
    assert floor is not None
    assert floor.source == "https://example.test/minor"


@pytest.mark.parametrize(
    ("driver", "branch", "cuda"),
    [
        ("580.95.05", 580, "13.0"),
        ("570.124.06", 570, "12.8"),
        ("450.80.02", 450, "11.0"),
        ("572.60", 570, "12.8"),  # Windows counts on within a branch.
        ("617.14", 617, "13.4"),
        ("440.33", None, None),
        ("618.01", None, None),
    ],
)
def test_a_driver_brings_the_cuda_of_its_branch(
    driver: str, branch: int | None, cuda: str | None
) -> None:
    facts = shipped_facts()
    assert facts.branch(version(driver)) == branch
    natural = facts.natural_cuda(version(driver))
    assert (None if natural is None else str(natural)) == cuda


def test_the_newest_branch_is_the_greatest_number() -> None:
    assert shipped_facts().newest_branch == 617
    assert FACTS.newest_branch == 0


@pytest.mark.parametrize(
    ("driver", "runs", "cuda", "code", "words"),
    [
        ("580.65.06", "13.0", "13", None, None),
        ("580.65.06", None, "13", None, None),
        ("570.124.06", None, "13", "driver-too-old", "driver >=580, host has `570.124.06`"),
        ("570.124.06", "12.8", "13", "driver-too-old", "driver >=580, host has `570.124.06`"),
        # A compatibility package runs it on an older kernel driver.
        ("535.104.05", "13.0", "13", None, None),
        # An older user-mode driver comes first on the library path.
        (
            *("580.65.06", "12.8", "13", "cuda-too-old"),
            "a driver that runs CUDA >=13.0, host has `12.8`",
        ),
        (None, "12.8", "13", "cuda-too-old", "a driver that runs CUDA >=13.0, host has `12.8`"),
        (None, "12.8", "12.9", None, None),
        (None, None, "12", "driver-unknown", "driver >=525.60.13, the host's version is unknown"),
        ("570.124.06", "12.8", "14", None, None),  # Which floor it has, no table knows.
    ],
)
def test_a_driver_runs_a_line_by_its_cuda_version_or_by_its_own(
    driver: str | None, runs: str | None, cuda: str, code: str | None, words: str | None
) -> None:
    gap = shipped_facts().driver_gap(host(driver, runs, "9.0"), version(cuda))
    found = (None, None) if gap is None else (gap.code, gap.words)
    assert found == (code, None if words is None else f"needs {words}")
    assert gap is None or gap.source


def test_a_host_without_a_driver_lacks_any() -> None:
    gap = shipped_facts().driver_gap(EMPTY, version("12"))
    assert gap is not None
    assert (gap.code, gap.words) == ("no-driver", "needs driver >=525.60.13, host has none")
    assert gap.lowest == version("525.60.13")


def test_the_driver_under_wsl_is_numbered_as_that_of_windows() -> None:
    linux = host("528.24", None, "9.0")
    under_wsl = replace(linux, platform=replace(linux.platform, kind="wsl2"))
    assert driver_numbering(linux) == "linux"
    assert driver_numbering(under_wsl) == "windows"
    gap = shipped_facts().driver_gap(under_wsl, version("12"))
    assert gap is not None
    assert gap.words == "needs driver >=528.33, host has `528.24`"
    assert shipped_facts().driver_gap(linux, version("12")) is None


def test_forward_compatibility_goes_by_branch() -> None:
    facts = shipped_facts()
    assert facts.compat_branches(version("12.8")) == (470, 535, 550, 560, 565)
    assert 545 not in facts.compat_branches(version("12"))
    assert facts.compat_branches(version("13.5")) == ()
    assert [str(row.cuda) for row in facts.compat(version("12"))] == ["12.9", "12.8"]


def test_forward_compatibility_is_not_for_geforce() -> None:
    assert "geforce" not in shipped_facts().compat_brands
    assert "tesla" in shipped_facts().compat_brands


@pytest.mark.parametrize(
    ("text", "first", "last", "tegra"),
    [
        ("7.0", 384, 580, False),
        ("9.0", 520, None, False),
        ("10.0", 570, None, False),
        ("12.1", 575, None, False),
        ("3.7", None, 470, False),
        ("11.0", 580, None, True),
        ("8.7", None, None, True),
    ],
)
def test_a_gpu_is_driven_from_its_first_branch_to_its_last(
    text: str, first: int | None, last: int | None, *, tegra: bool
) -> None:
    known = shipped_facts().architecture(capability(text))
    assert known is not None
    assert (known.first_driver_branch, known.last_driver_branch) == (first, last)
    assert known.tegra is tegra
    assert known.source


def test_an_unknown_gpu_has_no_row() -> None:
    assert shipped_facts().architecture(capability("99.0")) is None


@pytest.mark.parametrize(
    ("branch", "oldest", "newest"),
    [(470, "3.0", "8.6"), (535, "5.0", "9.0"), (580, "5.0", "12.1"), (590, "7.5", "12.1")],
)
def test_a_driver_branch_knows_the_gpus_of_its_time(branch: int, oldest: str, newest: str) -> None:
    known = shipped_facts().known_to(branch)
    assert (str(known[0]), str(known[-1])) == (oldest, newest)
    assert capability("8.7") not in known


@pytest.mark.parametrize(
    ("text", "volta"),
    [
        *(("2.10.0", True), ("2.9.1", True), ("2.8.0.dev20250501+cu128", True)),
        *(("2.11.0+cu128", False), ("2.11.0rc1", False), ("2.7.1", False)),
    ],
)
def test_a_version_of_pytorch_has_the_code_of_its_minor_version(text: str, *, volta: bool) -> None:
    build = shipped_facts().torch_build("cu128", text, "x86_64", "linux")
    assert build is not None
    assert ("7.0" in build.code.sass) is volta


@pytest.mark.parametrize(
    ("label", "text", "machine", "system"),
    [
        ("cu128", "2.10.0", "riscv64", "linux"),
        ("cu128", "2.6.0", "x86_64", "linux"),
        ("cu128", "nightly", "x86_64", "linux"),
        ("cu99", "2.10.0", "x86_64", "linux"),
        ("cu130", "2.10.0", "aarch64", "windows"),
    ],
)
def test_builds_that_no_table_has_are_unknown(
    label: str, text: str, machine: str, system: str
) -> None:
    assert shipped_facts().torch_build(label, text, machine, system) is None


def test_a_version_of_pytorch_newer_than_the_tables_has_the_code_of_the_newest() -> None:
    build = shipped_facts().torch_build("cu126", "2.99.0", "aarch64", "linux")
    assert build is not None
    assert (str(build.last), build.code.sass) == ("2.14", ("8.0", "9.0"))


@pytest.mark.parametrize(("label", "cuda"), [("cu128", "12.8"), ("cu92", "9.2"), ("cu118", "11.8")])
def test_the_last_digit_of_a_label_is_the_minor_version(label: str, cuda: str) -> None:
    assert cuda_of_label(label) == version(cuda)


@pytest.mark.parametrize("label", ["cpu", "cu", "cu1", "xpu", "128", "cuda12"])
def test_what_is_no_label_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match="is not a label"):
        cuda_of_label(label)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2.8.0+cu128", "2.8"), ("2.10.0rc1", "2.10"), ("3", "3"), ("2.x", "2"), ("", None)],
)
def test_a_version_begins_with_its_numbers(text: str, expected: str | None) -> None:
    found = leading_version(text)
    assert (None if found is None else str(found)) == expected
