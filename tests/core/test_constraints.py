"""Constraints that make one coherent set of packages for a CUDA line and some GPUs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from provisioner.core.artefacts import judge_requirements
from provisioner.core.constraints import Constraint, constraints
from provisioner.core.interpreter import Interpreter
from tests.core.artefact_examples import example_host, shipped_artefact_facts
from tests.core.examples import capability, host, shipped_facts, version

if TYPE_CHECKING:
    from provisioner.core.host import Host

FACTS = shipped_facts()
TABLES = shipped_artefact_facts()
PYTHON = Interpreter(version="3.12")


def found(
    machine: Host, line: str, label: str | None = None, python: Interpreter | None = PYTHON
) -> tuple[Constraint, ...]:
    return constraints(version(line), machine, machine.gpus, FACTS, TABLES, python, label)


def lines(
    name: str, line: str, label: str | None = None, python: Interpreter | None = PYTHON
) -> set[str]:
    return {str(item) for item in found(example_host(name), line, label, python)}


TENSORRT_12 = "tensorrt<=10.13.0.35"
CUDA_12 = {TENSORRT_12, "cuda-toolkit<13"}
"""What any host needs on CUDA 12: the plain names are for CUDA 13 by now."""
FLAVOURS = ("tensorrt", "tensorrt-lean", "tensorrt-dispatch")
NO_VOLTA = {f"{name}{suffix}<10.5" for name in FLAVOURS for suffix in ("", "-cu12")}


@pytest.mark.parametrize(
    ("machine", "line", "label", "expected"),
    [
        ("h100-r570", "12", None, {*CUDA_12, "torch<2.11"}),
        ("t4-h100-r580", "13", None, {"tensorrt-cu13!=10.13.3.9"}),
        (
            "v100-h100-r580",
            "12",
            None,
            {*CUDA_12, *NO_VOLTA, "nvidia-cudnn-cu12<9.11", "torch<2.11"},
        ),
        (
            "v100-h100-r580",
            "12.8",
            "cu128",
            {*CUDA_12, *NO_VOLTA, "nvidia-cudnn-cu12<9.11", "torch>=2.8", "torch<2.11"},
        ),
        ("v100-h100-r580", "12.6", "cu126", {*CUDA_12, *NO_VOLTA, "nvidia-cudnn-cu12<9.11"}),
        # No TensorRT for Pascal: that is told by judging.
        ("gtx1080ti-r580", "12", None, {*CUDA_12, "nvidia-cudnn-cu12<9.11", "torch<2.8"}),
        (
            "rtx5090-r575",
            "12",
            None,
            {*CUDA_12, "cuda-toolkit>=12.8", "torch>=2.8", "torch<2.11"},
        ),
        ("b200-r570", "12.8", "cu128", {*CUDA_12, "cuda-toolkit>=12.8"}),
        ("k80-r470", "11", None, {"cuda-toolkit<12"}),
        (
            "amazon-linux-2",
            "12",
            None,
            {
                *CUDA_12,
                *(f"{name}<=10.7.0.post1" for name in FLAVOURS),
                *(f"{name}-cu12<=10.7.0.post1" for name in FLAVOURS),
                "torch<2.7",
            },
        ),
        (
            "jetson-thor",
            "13",
            None,
            {
                "tensorrt-cu13!=10.13.3.9",
                *(f"{name}{suffix}<11.0" for name in FLAVOURS for suffix in ("", "-cu13")),
            },
        ),
        ("dgx-spark", "13", None, {"tensorrt-cu13!=10.13.3.9"}),
        (
            "dgx-spark",
            "12",
            None,
            {
                *CUDA_12,
                "cuda-toolkit>=12.8",
                *(f"{name}<=10.13.0.35" for name in FLAVOURS),
                *(f"{name}-cu12<=10.13.0.35" for name in FLAVOURS),
                *(f"{name}-cu12>=10.5.0" for name in FLAVOURS),
            },
        ),
        ("alpine", "13", None, {"tensorrt-cu13!=10.13.3.9"}),
    ],
)
def test_the_constraints_of_a_host(
    machine: str, line: str, label: str | None, expected: set[str]
) -> None:
    assert lines(machine, line, label) == expected


def test_a_new_python_needs_a_new_tensorrt() -> None:
    python = Interpreter(version="3.14")
    assert "tensorrt-cu12>=11.1.0.106" in lines("h100-r570", "12", None, python)
    assert "tensorrt-cu12>=11.1.0.106" not in lines("h100-r570", "12", None, None)


def test_pytorch_for_jetson_has_no_bounds() -> None:
    jetson = example_host("jetson-thor")
    orin = replace(jetson, gpus=(replace(jetson.gpus[0], compute_capability=capability("8.7")),))
    served = replace(orin, platform=replace(orin.platform, kind="linux"))
    python = Interpreter(version="3.9")
    assert "torch" in {item.name for item in found(served, "12.6", "cu126", python)}
    assert "torch" not in {item.name for item in found(orin, "12.6", "cu126", python)}


def test_a_python_that_pytorch_left_bounds_it_from_above_alone() -> None:
    assert "torch<2.9" in lines("h100-r570", "12", None, Interpreter(version="3.9"))
    assert lines("h100-r570", "12.6", "cu126", Interpreter(version="3.14")) == {
        *CUDA_12,
        *(f"{name}-cu12>=11.1.0.106" for name in FLAVOURS),
    }


def test_every_constraint_says_why_and_by_which_source() -> None:
    told = {str(item): item for item in found(example_host("v100-h100-r580"), "12")}
    volta = told["tensorrt-cu12<10.5"]
    assert volta.why == (
        "TensorRT 10.5 and newer has no code for compute capability `7.0` (Tesla V100-SXM2-32GB)"
    )
    assert volta.source.startswith("TensorRT 10.5.0 release notes")
    assert told["cuda-toolkit<13"].why == "the rest is for CUDA 12"
    other = {str(item): item for item in found(example_host("rtx5090-r575"), "12")}
    assert other["torch<2.11"].why == "PyTorch 2.11 is for CUDA 13.0, the rest for CUDA 12"
    assert other["cuda-toolkit>=12.8"].why.startswith("CUDA 12.6 has no code for")
    old = {str(item): item for item in found(example_host("amazon-linux-2"), "12")}
    assert old["torch<2.7"].why == (
        "PyTorch 2.7 has no wheel for Python 3.12, glibc 2.26 on x86_64"
    )
    assert all(item.source for item in (*told.values(), *other.values(), *old.values()))


def test_the_cpu_line_has_no_constraints() -> None:
    machine = example_host("no-gpu")
    assert constraints(None, machine, (), FACTS, TABLES, PYTHON) == ()


LINES = st.sampled_from([("11", None), ("12", None), ("13", None), ("12.6", "cu126")])
CAPABILITIES = st.sampled_from(["3.7", "6.1", "7.0", "7.5", "8.0", "9.0", "10.0", "12.1", "14.0"])
PYTHONS = st.sampled_from([None, "3.9", "3.12", "3.13", "3.14"])


@given(LINES, st.lists(CAPABILITIES, max_size=3), PYTHONS)
def test_what_has_a_version_that_runs_still_has_one_under_its_constraints(
    line: tuple[str, str | None], capabilities: list[str], python: str | None
) -> None:
    machine = host("700.1", None, *capabilities)
    interpreter = None if python is None else Interpreter(version=python)
    cuda, label = line
    narrowed: dict[str, list[str]] = {}
    for item in found(machine, cuda, label, interpreter):
        requirement = Requirement(str(item))
        narrowed.setdefault(requirement.name, []).append(str(requirement.specifier))
    suffix = f"-cu{cuda.partition('.')[0]}"
    for name in ("torch", f"tensorrt{suffix}", f"nvidia-cudnn{suffix}", "cuda-toolkit[cublas]"):
        bounds = ",".join(narrowed.get(name.partition("[")[0], []))
        known = (machine, machine.gpus, FACTS, TABLES, interpreter, label)
        free = [gap for gap in judge_requirements([name], version(cuda), *known) if gap.hard]
        if not free:
            gaps = judge_requirements([f"{name}{bounds}"], version(cuda), *known)
            assert [gap.message for gap in gaps if gap.hard] == []


@given(LINES, st.lists(CAPABILITIES, max_size=3))
def test_no_constraint_is_told_twice(line: tuple[str, str | None], capabilities: list[str]) -> None:
    x86 = host("580.95.05", "13.0", *capabilities)
    for machine in (x86, replace(x86, platform=replace(x86.platform, machine="aarch64"))):
        told = [str(item) for item in found(machine, *line)]
        assert len(set(told)) == len(told)


@given(LINES, st.lists(CAPABILITIES, max_size=3))
def test_the_order_of_gpus_does_not_matter(
    line: tuple[str, str | None], capabilities: list[str]
) -> None:
    one = found(host("580.95.05", "13.0", *capabilities), *line)
    other = found(host("580.95.05", "13.0", *reversed(capabilities)), *line)
    assert one == other
