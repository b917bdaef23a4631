"""What a host has to have for an image, and what NVIDIA's runtime is told."""

from __future__ import annotations

import pytest

from provisioner.adapters.profiles import load_facts, load_profiles, shipped_folder
from provisioner.core.image_needs import ImageNeeds, gpu_variables, image_needs
from provisioner.core.profile import read_profile

PROFILES = {item.name: item for item in load_profiles(sorted(shipped_folder().glob("*.yaml")))}


def needs(name: str) -> ImageNeeds:
    return image_needs(PROFILES[name], load_facts())


def test_a_line_needs_what_select_asks_for() -> None:
    found = needs("cu12")
    assert (found.driver, found.runs) == ("525.60.13", "12.0")
    assert {"5.0", "7.0", "9.0", "12.0"} <= set(found.capabilities)
    assert "3.7" not in found.capabilities
    assert "7.0" not in needs("cu13").capabilities
    assert {"7.5", "9.0"} <= set(needs("cu13").capabilities)


def test_the_cpu_needs_nothing() -> None:
    assert needs("cpu") == ImageNeeds(profile="cpu")


def test_what_a_profile_asks_for_itself_is_added() -> None:
    text = {
        "schema": 1,
        "name": "own",
        "cuda": "12",
        "extras": [],
        "needs": {"driver": ">=550.1", "cuda": ">=12.4", "compute-capability": ">=8.0"},
    }
    found = image_needs(read_profile(text, "own"), load_facts())
    assert (found.driver, found.runs) == ("550.1", "12.4")
    assert found.capabilities[0] == "8.0"


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (["cu13"], "cuda>=13.0"),
        (["cu12"], "cuda>=12.0"),
        (["cu128"], "cuda>=12.0"),
        (["cu13", "cu12"], "cuda>=12.0"),
        (["cu13", "cpu"], None),
    ],
)
def test_the_runtime_is_told_the_weakest_need(names: list[str], asked: str | None) -> None:
    found = gpu_variables([needs(name) for name in names])
    assert found.get("NVIDIA_REQUIRE_CUDA") == asked
    assert found["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert found["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


def test_an_image_for_the_cpu_asks_for_no_gpu() -> None:
    assert gpu_variables([needs("cpu")]) == {}
