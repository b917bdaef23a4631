"""Compatibility tables: what a CUDA line needs, and for which GPUs it has code."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.core.facts import Facts, read_facts
from tests.core.examples import capability, version

FLOORS: dict[str, Any] = {
    "rows": [
        {
            "cuda": "12.0",
            "minor_version_compatibility": True,
            "linux": "525.60.13",
            "windows": "528.33",
        },
        {
            "cuda": "10.2",
            "minor_version_compatibility": False,
            "linux": "440.33",
            "windows": "441.22",
        },
    ]
}
CODE: dict[str, Any] = {
    "rows": [
        {"cuda": "12.6", "compute_capabilities": ["9.0", "7.0"]},
        {"cuda": "12.8", "compute_capabilities": ["9.0", "12.0"]},
        {"cuda": "11.8", "compute_capabilities": ["3.5"]},
    ]
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
