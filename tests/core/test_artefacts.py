"""Whether the packages of a lock, or of requirements, run on some GPUs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.artefacts import (
    Gap,
    judge_artefacts,
    judge_lock,
    judge_requirements,
    torch_label,
    torch_remedy,
)
from provisioner.core.facts import cuda_of_label
from provisioner.core.host import Driver, Gpu, Platform
from provisioner.core.interpreter import Interpreter
from provisioner.core.packages import Package
from provisioner.core.version import DottedVersion
from provisioner.errors import LockError
from tests.core.artefact_examples import example_host, shipped_artefact_facts
from tests.core.examples import (
    capability,
    gpus,
    host,
    make_profile,
    shipped_facts,
    version,
)

if TYPE_CHECKING:
    import random

    from provisioner.core.host import Host

FACTS = shipped_facts()
TABLES = shipped_artefact_facts()
PYTHON = Interpreter(version="3.12")
V100_H100 = example_host("v100-h100-r580")
H100_570 = example_host("h100-r570")
H100_580 = host("580.95.05", "13.0", "9.0")
BLACKWELL = example_host("rtx5090-r575")


def package(text: str, *wheels: str, sdist: bool = False, index: str | None = None) -> Package:
    name, _, number = text.partition("==")
    urls = () if index is None else (f"https://download.pytorch.org/whl/{index}",)
    return Package(name=name, version=number or None, wheels=wheels, sdist=sdist, urls=urls)


def judged(
    machine: Host, *packages: Package | str, line: str = "12", python: Interpreter | None = PYTHON
) -> tuple[Gap, ...]:
    return judge_artefacts(
        [package(item) if isinstance(item, str) else item for item in packages],
        machine,
        machine.gpus,
        version(line),
        FACTS,
        TABLES,
        python,
    )


def required(
    machine: Host,
    *requirements: str,
    line: str = "12",
    python: Interpreter | None = PYTHON,
    label: str | None = None,
) -> tuple[Gap, ...]:
    return judge_requirements(
        requirements, version(line), machine, machine.gpus, FACTS, TABLES, python, label
    )


def remedy(machine: Host, python: str = "3.12") -> str | None:
    known = (FACTS, TABLES, Interpreter(version=python))
    return torch_remedy(machine, machine.gpus, *known)


def near(gap: Gap) -> str | None:
    """The versions that a gap names to take instead."""
    return " or ".join(filter(None, (gap.nearest, gap.elsewhere))) or None


def brief(gaps: tuple[Gap, ...]) -> list[tuple[str, str, str | None, str | None]]:
    return [
        (gap.code, gap.package, str(gap.capability) if gap.capability else None, near(gap))
        for gap in gaps
    ]


@pytest.mark.parametrize(
    ("machine", "locked", "expected"),
    [
        ("v100-h100-r580", "torch==2.11.0", ("artefact-no-code", "7.0", "2.10 or 2.11.0+cu126")),
        (
            "v100-h100-r580",
            "torch==2.11.0+cu128",
            ("artefact-no-code", "7.0", "2.10 or 2.11.0+cu126"),
        ),
        ("v100-h100-r580", "torch==2.7.1+cu128", ("artefact-no-code", "7.0", "2.8 or 2.7.1+cu126")),
        ("v100-h100-r580", "torch==2.14.0+cu126", None),
        ("v100-h100-r580", "tensorrt-cu12==10.5.0", ("artefact-no-code", "7.0", "10.4.0")),
        ("v100-h100-r580", "tensorrt-cu12==10.4.0", None),
        ("v100-h100-r580", "tensorrt-cu13==11.0.0.114", ("no-artefact", "7.0", None)),
        (
            "v100-h100-r580",
            "nvidia-cudnn-cu12==9.11.0.98",
            ("artefact-no-code", "7.0", "9.10.2.21"),
        ),
        ("v100-h100-r580", "nvidia-cudnn-cu12==9.10.2.21", None),
        ("v100-h100-r580", "nvidia-cublas==13.1.0.3", ("no-artefact", "7.0", None)),
        ("v100-h100-r580", "nvidia-cublas-cu12==12.8.4.1", None),
        ("t4-h100-r580", "tensorrt-cu13==11.4.0.106", None),
        ("t4-h100-r580", "torch==2.15.0", None),
        ("gtx1080ti-r580", "tensorrt-cu12==10.4.0", ("no-artefact", "6.1", None)),
        ("gtx1080ti-r580", "torch==2.14.0+cu126", None),
        ("gtx1080ti-r580", "torch==2.10.0", ("artefact-no-code", "6.1", "2.7 or 2.10.0+cu126")),
        ("m60-r535", "tensorrt-cu12==10.0.1", ("no-artefact", "5.2", None)),
        ("m60-r535", "nvidia-cudnn-cu12==9.28.0.42", ("artefact-no-code", "5.2", "9.10.2.21")),
        ("k80-r470", "tensorrt-cu11==10.0.1", ("no-artefact", "3.7", None)),
        ("k80-r470", "torch==2.7.0+cu118", None),
        ("rtx5090-r575", "torch==2.14.0+cu126", ("artefact-no-code", "12.0", "2.11+cu128")),
        ("rtx5090-r575", "torch==2.9.0+cu129", None),
        ("rtx5090-r575", "nvidia-cufft-cu12==11.3.0.4", None),
        ("rtx5090-r575", "nvidia-cuda-runtime-cu12==12.6.77", None),
        ("b200-r570", "torch==2.10.0", None),
        ("dgx-spark", "torch==2.15.0", None),
        ("dgx-spark", "torch==2.14.0+cu126", ("artefact-no-code", "12.1", "2.14.0+cu130")),
    ],
)
def test_what_a_locked_version_lacks_on_a_host(
    machine: str, locked: str, expected: tuple[str, str, str | None] | None
) -> None:
    gaps = [gap for gap in judged(example_host(machine), locked) if gap.hard]
    found = [(gap.code, str(gap.capability), near(gap)) for gap in gaps]
    assert found == ([] if expected is None else [expected])


def test_a_gap_says_the_package_the_version_and_the_gpu_with_a_source() -> None:
    (gap,) = judged(V100_H100, "tensorrt-cu12==10.9.0.34")
    assert gap.message == (
        "`tensorrt-cu12` `10.9.0.34` has no code for compute capability `7.0` "
        "(Tesla V100-SXM2-32GB)"
    )
    assert gap.hint == "the nearest version of `tensorrt-cu12` that works here is `10.4.0`"
    assert gap.source.startswith("TensorRT 10.5.0 release notes")
    assert gap.hard


def test_a_version_of_another_index_of_pytorch_is_named_with_it() -> None:
    (gap,) = judged(V100_H100, "torch==2.11.0+cu128", line="12.8")
    assert gap.hint == (
        "the nearest version of `torch` that works here is `2.10`, or `2.11.0` of PyTorch's index "
        "`cu126`"
    )
    (gap,) = judged(BLACKWELL, "torch==2.9.1+cu126", line="12.6")
    assert gap.hint == (
        "the nearest version of `torch` that works here is `2.9.1` of PyTorch's index `cu128`"
    )


@pytest.mark.parametrize(
    ("machine", "python", "locked", "expected"),
    [
        ("dgx-spark", "3.12", "tensorrt-lean-cu12==10.16.1.11", "10.13.0.35"),
        ("dgx-spark", "3.12", "tensorrt-dispatch-cu12==10.16.1.11", "10.13.0.35"),
        ("amazon-linux-2", "3.12", "tensorrt-lean-cu12==10.16.1.11", "10.7.0.post1"),
        ("amazon-linux-2", "3.13", "tensorrt-lean-cu12==10.16.1.11", None),
        ("h100-r570", "3.14", "tensorrt-lean-cu12==10.16.1.11", "11.1.0.106"),
        ("h100-r570", "3.14", "tensorrt-cu12==10.16.1.11", "11.1.0.106"),
        # That build of 2.6 is for a newer glibc than the others.
        ("amazon-linux-2", "3.12", "torch==2.6.0+cu126", "2.6.0+cu124"),
        ("amazon-linux-2", "3.12", "torch==2.14.0+cu126", "2.6+cu124"),
        ("amazon-linux-2", "3.14", "torch==2.14.0+cu126", None),
        ("h100-r570", "3.14", "torch==2.8.0", "2.9"),
        ("h100-r570", "3.13", "torch==2.4.1+cu124", "2.5"),
        ("v100-h100-r580", "3.14", "torch==2.11.0+cu128", "2.10 or 2.11.0+cu126"),
        ("gtx1080ti-r580", "3.14", "torch==2.10.0", "2.10.0+cu126"),
    ],
)
def test_the_nearest_version_is_one_that_can_be_installed(
    machine: str, python: str, locked: str, expected: str | None
) -> None:
    (gap,) = judged(example_host(machine), locked, python=Interpreter(version=python))
    assert near(gap) == expected


def test_no_version_is_named_where_nobody_knows_why_there_is_no_file() -> None:
    cudnn = "nvidia_cudnn_cu12-{}-py3-none-manylinux_2_27_x86_64.whl"
    old = example_host("amazon-linux-2")
    (gap,) = judged(old, package("nvidia-cudnn-cu12==9.10.2.21", cudnn.format("9.10.2.21")))
    assert (gap.code, gap.hint) == ("artefact-no-file", None)
    # That holds for what else the package lacks.
    volta = replace(V100_H100, platform=old.platform)
    gaps = judged(volta, package("nvidia-cudnn-cu12==9.11.0.98", cudnn.format("9.11.0.98")))
    assert [(gap.code, gap.hint) for gap in gaps] == [
        ("artefact-no-file", None),
        ("artefact-no-code", None),
    ]


@pytest.mark.parametrize("number", ["10.0.1", "10.4.0", "10.9.0.34", "11.4.0.106"])
@pytest.mark.parametrize("machine", ["m60-r535", "k80-r470", "gtx1080ti-r580"])
def test_the_rule_that_took_the_code_away_is_the_source(machine: str, number: str) -> None:
    gaps = judged(example_host(machine), f"tensorrt-cu12=={number}")
    (source,) = {gap.source for gap in gaps if gap.code == "no-artefact"}
    assert source.startswith("TensorRT 10.1 support matrix")


@pytest.mark.parametrize(
    ("capability", "line", "warned"),
    [("10.7", "13.2", True), ("10.7", "13.4", False), ("10.0", "13.2", False)],
)
def test_code_of_a_toolkit_that_did_not_know_the_gpu_runs_and_is_told(
    capability: str, line: str, *, warned: bool
) -> None:
    machine = host("617.14", "13.4", capability)
    label = f"cu{line.replace('.', '')}"
    gaps = judged(machine, f"torch==2.15.0+{label}", line=line)
    assert [gap.code for gap in gaps] == ["artefact-older-code"] * warned
    assert not any(gap.hard for gap in gaps)
    message = (
        "`torch` `2.15.0+cu132` was built with CUDA 13.2, which does not know compute capability "
        "`10.7`, and runs by code for an older one"
    )
    assert [gap.message for gap in gaps] == [message] * warned


@pytest.mark.parametrize(
    ("machine", "python", "expected"),
    [
        (
            "v100-h100-r580",
            "3.12",
            " before 2.15 has builds for compute capability `7.0` and `9.0`",
        ),
        ("gtx1080ti-r580", "3.12", " before 2.15 has builds for compute capability `6.1`"),
        ("gtx1080ti-r580", "3.14", " 2.9 to 2.14 has builds for compute capability `6.1`"),
        ("k80-r470", "3.12", " 2.2 to 2.7 has builds for compute capability `3.7`"),
        ("k80-r470", "3.11", " before 2.8 has builds for compute capability `3.7`"),
        ("rtx5090-r575", "3.12", " before 2.12 has builds for compute capability `12.0`"),
        ("t4-h100-r580", "3.12", " has builds for compute capability `7.5` and `9.0`"),
        (
            "t4-h100-r580",
            "3.15",
            " 2.15 and newer has builds for compute capability `7.5` and `9.0`",
        ),
    ],
)
def test_the_remedy_names_the_newest_builds_of_pytorch_that_run(
    machine: str, python: str, expected: str
) -> None:
    label = {"k80-r470": "cu118", "rtx5090-r575": "cu128", "t4-h100-r580": "cu132"}
    assert remedy(example_host(machine), python) == (
        f"PyTorch{expected}, on index `{label.get(machine, 'cu126')}`"
    )


@pytest.mark.parametrize("machine", ["alpine", "jetson-thor", "no-gpu"])
def test_there_is_no_remedy_where_no_build_of_pytorch_runs(machine: str) -> None:
    assert remedy(example_host(machine)) is None


def test_a_package_without_any_version_for_a_gpu_says_so_and_hints_at_none() -> None:
    (gap,) = judged(example_host("gtx1080ti-r580"), "tensorrt-cu12==10.4.0")
    assert gap.message == (
        "`tensorrt-cu12` `10.4.0` has no code for compute capability `6.1` "
        "(NVIDIA GeForce GTX 1080 Ti), and neither has any other version"
    )
    assert gap.hint is None


@pytest.mark.parametrize(
    ("locked", "driver", "nearest"),
    [
        ("torch==2.12.1", "580", "2.10 or 2.12.1+cu126"),
        ("tensorrt==10.14.1.48.post1", "580", "10.13.0.35"),
        ("tensorrt-cu13==11.4.0.106", "580", None),
        ("nvidia-cuda-runtime==13.0.96", "580", None),
        ("nvidia-nccl-cu13==2.28.9", "580", None),
        ("cuda-toolkit==13.0.2", "580", "12.9.1"),
    ],
)
def test_a_package_of_a_newer_cuda_needs_a_newer_driver(
    locked: str, driver: str, nearest: str | None
) -> None:
    (gap,) = judged(H100_570, locked)
    assert gap.code == "artefact-driver"
    assert gap.message.endswith(f"needs driver >={driver}, host has `570.124.06`")
    assert near(gap) == nearest


@pytest.mark.parametrize(
    "locked",
    [
        "torch==2.10.0",
        "tensorrt==10.13.0.35",
        "nvidia-cublas-cu12==12.9.1.4",
        "cuda-toolkit==12.9.1",
    ],
)
def test_any_minor_version_of_the_drivers_major_runs(locked: str) -> None:
    assert judged(H100_570, locked) == ()


def test_the_libraries_of_a_package_do_not_repeat_what_their_driver_lacks() -> None:
    gaps = judged(
        H100_570,
        "nvidia-cublas==13.1.0.3",
        "nvidia-cuda-runtime==13.0.96",
        "nvidia-cudnn-cu13==9.19.0.56",
        "torch==2.12.1",
    )
    assert brief(gaps) == [("artefact-driver", "torch", None, "2.10 or 2.12.1+cu126")]


def test_a_compatibility_package_is_a_driver() -> None:
    machine = example_host("a100-r535-compat")
    assert judged(machine, "torch==2.12.1", "nvidia-cublas==13.1.0.3", line="13") == ()


def test_windows_numbers_count_under_wsl() -> None:
    machine = example_host("wsl2-two-gpus")
    assert judged(machine, "torch==2.10.0") == ()
    bare = replace(machine, driver=Driver(version=version("528.24"), cuda=None))
    assert judged(bare, "torch==2.10.0")[0].message.endswith("driver >=528.33, host has `528.24`")


def test_a_driver_of_which_only_its_cuda_is_known_is_judged_by_it() -> None:
    (gap,) = judged(host(None, "12.8", "9.0"), "torch==2.12.1")
    assert gap.message == (
        "`torch` `2.12.1` is for CUDA 13.0 and needs a driver that runs CUDA >=13.0, "
        "host has `12.8`"
    )


@pytest.mark.parametrize("machine", [host(None, None, "9.0"), example_host("no-gpu")])
def test_an_unknown_driver_is_not_held_against_a_package(machine: Host) -> None:
    assert judged(machine, "torch==2.12.1", "nvidia-cublas==13.1.0.3") == ()


def test_the_parts_of_one_tensorrt_are_judged_once() -> None:
    parts = [
        f"{name}==10.9.0.34"
        for name in ("tensorrt", "tensorrt-cu12-libs", "tensorrt-cu12-bindings", "tensorrt-cu12")
    ]
    assert brief(judged(V100_H100, *parts)) == [
        ("artefact-no-code", "tensorrt-cu12", "7.0", "10.4.0")
    ]


def test_tensorrt_of_two_cudas_are_two() -> None:
    gaps = judged(V100_H100, "tensorrt-cu12==11.0.0.114", "tensorrt-cu13==11.0.0.114")
    assert [(gap.code, gap.package) for gap in gaps if gap.hard] == [
        ("artefact-no-code", "tensorrt-cu12"),
        ("no-artefact", "tensorrt-cu13"),
    ]


def test_the_libraries_of_one_cuda_are_told_together() -> None:
    (gap,) = judged(
        V100_H100,
        "nvidia-cublas==13.1.0.3",
        "nvidia-cufft==12.0.0.61",
        "nvidia-curand==10.4.0.35",
        "nvidia-cuda-runtime==13.0.96",
    )
    assert gap.message == (
        "`nvidia-cublas` `13.1.0.3` and 2 more packages of its CUDA have no code for compute "
        "capability `7.0` (Tesla V100-SXM2-32GB), and neither has any other version"
    )
    assert gap.hard


def test_libraries_older_than_a_gpu_may_have_ptx_for_it() -> None:
    (gap,) = judged(
        BLACKWELL,
        "nvidia-cublas-cu12==12.6.4.1",
        "nvidia-cufft-cu12==11.3.0.4",
        "nvidia-curand-cu12==10.3.7.77",
        "nvidia-cuda-runtime-cu12==12.6.77",
    )
    assert (gap.code, gap.hard) == ("artefact-doubtful", False)
    assert gap.message == (
        "`nvidia-cublas-cu12` `12.6.4.1` and 2 more packages of its CUDA may have no code for "
        "compute capability `12.0` (NVIDIA GeForce RTX 5090)"
    )
    assert gap.source


@pytest.mark.parametrize(
    ("requirement", "codes"),
    [
        ("cuda-toolkit[cublas]==12.6.*", ["artefact-doubtful"]),
        ("cuda-toolkit[cuBLAS]==12.6.*", ["artefact-doubtful"]),
        ("cuda-toolkit[cublas]==12.*", []),
        ("cuda-toolkit[cudart]==12.6.*", []),
        ("nvidia-cublas-cu12<12.8", ["artefact-doubtful"]),
        ("nvidia-cublas-cu12", []),
    ],
)
def test_an_older_toolkit_is_doubted_by_its_libraries(requirement: str, codes: list[str]) -> None:
    assert [gap.code for gap in required(BLACKWELL, requirement)] == codes


def test_a_library_between_two_known_toolkits_may_be_of_either() -> None:
    # 12.8.0 is not in the tables; its cuBLAS lies between those of 12.6.3 and 12.8.1.
    assert judged(BLACKWELL, "nvidia-cublas-cu12==12.8.3.14") == ()


def test_a_library_older_or_newer_than_the_tables_is_not_refused() -> None:
    old = judged(host("580.95.05", "13.0", "9.0"), "nvidia-cublas-cu12==11.0")
    new = judged(host("580.95.05", "13.0", "9.0"), "nvidia-cublas==99.0", line="13")
    assert (old, new) == ((), ())


@pytest.mark.parametrize(
    ("index", "machine", "codes"),
    [
        ("cu126", "rtx5090-r575", ["artefact-no-code"]),
        ("cpu", "rtx5090-r575", []),
        ("rocm6.3", "rtx5090-r575", []),
        ("cu128", "rtx5090-r575", []),
    ],
)
def test_the_index_says_which_build_of_pytorch_it_is(
    index: str, machine: str, codes: list[str]
) -> None:
    gaps = judged(example_host(machine), package("torch==2.9.1", index=index))
    assert [gap.code for gap in gaps] == codes


@pytest.mark.parametrize(
    "locked",
    [
        package("torch==2.11.0+mybuild"),
        package("torch==2.11.0+cu121.with.pypi.cudnn"),
        package("torch==2.11.0", sdist=True),
        package("torch==2.11.0", "torch-2.11.0-cp312-cp312-linux_x86_64.whl"),
        package("torch==2.11.0+cpu"),
    ],
)
def test_nothing_is_known_of_a_build_of_pytorch_that_is_not_pytorchs(locked: Package) -> None:
    assert judged(V100_H100, locked) == ()


def test_a_mirror_of_pypi_has_what_pypi_has() -> None:
    locked = replace(package("torch==2.11.0"), urls=("https://example.test/simple",))
    assert judged(V100_H100, locked) == judged(V100_H100, "torch==2.11.0") != ()


def test_one_build_of_pytorch_does_not_speak_for_another_of_the_same_version() -> None:
    other = package("torch==2.9.1", "torch-2.9.1-cp312-cp312-linux_x86_64.whl")
    own = package("torch==2.9.1", index="cu126")
    for locked in ((own, other), (other, own)):
        assert [gap.code for gap in judged(BLACKWELL, *locked)] == ["artefact-no-code"]


def test_nothing_is_known_of_pytorch_for_jetson() -> None:
    machine = example_host("jetson-thor")
    assert judged(machine, "torch==2.9.1+cu126", "torch==2.11.0", line="13") == ()
    served = replace(machine, platform=replace(machine.platform, kind="linux"))
    assert judged(served, "torch==2.9.1+cu126", line="13") != ()


@pytest.mark.parametrize(
    ("number", "lacks"),
    [
        *(("2.11.0rc1", True), ("2.11.0.dev20251001", True), ("2.11.0rc1+cu128", True)),
        *(("2.10.0rc1", False), ("2.9.1.dev1+cu128", False)),
    ],
)
def test_a_pre_release_of_pytorch_is_of_the_version_that_it_comes_before(
    number: str, *, lacks: bool
) -> None:
    gaps = judged(V100_H100, f"torch=={number}")
    assert [gap.code for gap in gaps] == ["artefact-no-code"] * lacks


def test_a_pre_release_of_pytorch_is_for_the_cuda_of_its_version() -> None:
    (gap,) = judged(H100_570, "torch==2.11.0rc1")
    assert gap.message.startswith("`torch` `2.11.0rc1` is for CUDA 13.0 and needs driver >=580")


def test_pytorch_of_pypi_is_for_the_cpu_where_pypi_has_no_cuda_build() -> None:
    windows = replace(
        host("572.61", "12.8", "7.0"),
        platform=Platform(system="windows", machine="AMD64", kind="windows", libc=None),
    )
    aarch64 = replace(
        host("570.124.06", "12.8", "7.5"),
        platform=Platform(system="linux", machine="aarch64", kind="linux", libc=("glibc", "2.35")),
    )
    assert judged(windows, "torch==2.12.1") == ()
    assert judged(aarch64, "torch==2.10.0") == ()
    assert brief(judged(aarch64, "torch==2.10.0+cu128")) == [("no-artefact", "torch", "7.5", None)]


def test_only_ptx_is_said_and_does_not_refuse() -> None:
    newer = host("610.43.02", "13.3", "13.0")
    (gap,) = judged(newer, "torch==2.9.1+cu130", line="13")
    assert gap.code == "artefact-ptx-only"
    assert not gap.hard
    assert gap.message == (
        "`torch` `2.9.1+cu130` has no machine code for compute capability `13.0`, only PTX, "
        "which the driver compiles when it is first used"
    )


def test_ptx_of_a_newer_toolkit_needs_a_newer_driver() -> None:
    older = host("580.95.05", "13.0", "13.0")
    (gap,) = judged(older, "torch==2.12.0+cu132", line="13")
    assert gap.code == "artefact-driver"
    assert "PTX up to CUDA `13.0`" in gap.message
    assert (gap.nearest, gap.elsewhere) == (None, "2.12.0+cu130")


def test_what_a_driver_compiles_follows_from_its_branch_where_it_does_not_tell() -> None:
    for driver, code in [("580.95.05", "artefact-driver"), ("595.45.04", "artefact-ptx-only")]:
        (gap,) = judged(host(driver, None, "13.0"), "torch==2.12.0+cu132", line="13")
        assert gap.code == code


def test_code_that_nobody_has_confirmed_is_only_doubted() -> None:
    (gap,) = judged(BLACKWELL, "tensorrt-cu12==10.7.0")
    assert gap.code == "artefact-doubtful"
    assert not gap.hard
    assert "may have no code for compute capability `12.0`" in gap.message
    assert judged(BLACKWELL, "tensorrt-cu12==10.8.0.43") == ()


@pytest.mark.parametrize(
    ("capabilities", "codes"),
    [(["8.9"], []), (["8.0"], ["no-artefact"]), (["7.0"], ["no-artefact"]), (["12.1"], [])],
)
def test_tensorrt_rtx_is_for_gpus_of_its_own(capabilities: list[str], codes: list[str]) -> None:
    gaps = judged(host("580.95.05", "13.0", *capabilities), "tensorrt-rtx==1.2.0.54")
    assert [gap.code for gap in gaps] == codes


def test_a_gpu_newer_than_the_tables_is_not_refused_where_a_newer_build_may_know_it() -> None:
    machine = host("650.10", "14.0", "14.0")
    assert judged(machine, "tensorrt-cu13==99.0", "nvidia-cublas==13.10.0.20", line="13") == ()
    windows = replace(
        machine, platform=Platform(system="windows", machine="AMD64", kind="windows", libc=None)
    )
    assert judged(windows, "torch==2.99.0+cu132", line="13") == ()


def test_a_gpu_that_does_not_tell_what_it_is_leaves_no_gap() -> None:
    unknown = replace(host("580.95.05", "13.0"), gpus=(Gpu(index=0),))
    assert judged(unknown, "tensorrt-cu12==10.9.0.34", "torch==2.11.0") == ()


def test_the_cpu_line_asks_nothing_of_packages() -> None:
    found = judge_artefacts(
        [package("torch==2.11.0")], V100_H100, V100_H100.gpus, None, FACTS, TABLES, PYTHON
    )
    assert found == ()


BINDINGS = "tensorrt_cu12_bindings-{}-cp312-none-manylinux_2_{}_x86_64.whl"


@pytest.mark.parametrize(
    ("machine", "number", "glibc", "expected"),
    [
        ("t4-h100-r580", "10.8.0.43", 28, []),
        ("amazon-linux-2", "10.7.0.post1", 17, []),
        ("amazon-linux-2", "10.8.0.43", 28, [("artefact-no-file", "10.7.0.post1")]),
        ("alpine", "10.7.0.post1", 17, [("artefact-no-file", None)]),
    ],
)
def test_a_wheel_must_be_for_the_c_library(
    machine: str, number: str, glibc: int, expected: list[tuple[str, str | None]]
) -> None:
    locked = package(f"tensorrt-cu12-bindings=={number}", BINDINGS.format(number, glibc))
    gaps = judged(example_host(machine), locked)
    assert [(gap.code, gap.nearest) for gap in gaps] == expected


NEW_BINDINGS = "tensorrt_cu13_bindings-{}-cp315-none-manylinux_2_28_x86_64.whl"


@pytest.mark.parametrize("number", ["12.0.0.1", "11.4.0.106"])
@pytest.mark.parametrize("parts", [("",), ("-bindings",), ("", "-libs", "-bindings")])
def test_the_wheels_of_a_lock_speak_before_the_tables(number: str, parts: tuple[str, ...]) -> None:
    files = {
        "": f"tensorrt_cu13-{number}-py3-none-any.whl",
        "-libs": f"tensorrt_cu13_libs-{number}-py3-none-manylinux_2_28_x86_64.whl",
        "-bindings": NEW_BINDINGS.format(number),
    }
    locked = [package(f"tensorrt-cu13{part}=={number}", files[part]) for part in parts]
    gaps = judged(H100_580, *locked, line="13", python=Interpreter(version="3.15"))
    # The metapackage alone has no wheels that could speak.
    alone = parts == ("",) and number == "11.4.0.106"
    assert [gap.code for gap in gaps] == ["artefact-no-file"] * alone


def test_what_no_wheel_mends_is_said_whatever_a_lock_has() -> None:
    bad = package("tensorrt-cu13-bindings==10.13.3.9", "tensorrt-1-py3-none-any.whl")
    (gap,) = judged(H100_580, bad, line="13")
    assert gap.message == "`tensorrt-cu13-bindings` `10.13.3.9` cannot be installed"
    jetson = package("tensorrt-cu13-bindings==12.0.0.1", "tensorrt-1-py3-none-any.whl")
    (gap,) = judged(example_host("jetson-thor"), jetson, line="13")
    assert gap.message.endswith("does not support Jetson")


def test_a_version_newer_than_the_tables_has_files_that_they_do_not_know() -> None:
    newer = Interpreter(version="3.15")
    assert judged(H100_580, "tensorrt-cu13==12.0.0.1", line="13", python=newer) == ()
    (gap,) = judged(H100_580, "tensorrt-cu13==11.4.0.106", line="13", python=newer)
    assert gap.code == "artefact-no-file"


@pytest.mark.parametrize(("python", "number"), [("3.13", 1), ("3.12", 0)])
def test_a_wheel_must_be_for_the_python(python: str, number: int) -> None:
    locked = package("torch==2.10.0", "torch-2.10.0-cp312-cp312-manylinux_2_28_x86_64.whl")
    gaps = judged(H100_570, locked, python=Interpreter(version=python))
    assert [gap.code for gap in gaps] == ["artefact-no-file"] * number


def test_without_a_python_only_the_platform_is_asked_for() -> None:
    wheel = "torch-2.10.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    locked = package("torch==2.10.0", wheel)
    assert judged(H100_570, locked, python=None) == ()
    (gap,) = judged(example_host("dgx-spark"), locked, python=None)
    assert gap.message == "`torch` `2.10.0` has no wheel for glibc 2.39 on aarch64"


@pytest.mark.parametrize(
    "locked",
    [
        package("torch==2.10.0", "torch-2.10.0-cp39-cp39-win_amd64.whl", sdist=True),
        package("torch==2.10.0"),
        package("torch==2.10.0", "torch.whl"),
        package("torch==2.10.0", "torch-2.10.0-py3-none-any.whl"),
    ],
    ids=["source", "nothing", "odd name", "any"],
)
def test_what_may_be_installed_is_not_refused(locked: Package) -> None:
    assert judged(H100_570, locked) == ()
    assert judged(H100_570, locked, python=None) == ()


def test_files_are_not_judged_where_the_c_library_is_unknown() -> None:
    unknown = replace(H100_570, platform=replace(H100_570.platform, libc=None))
    locked = package("tensorrt-cu12==10.8.0.43", "tensorrt-1-cp39-cp39-win_amd64.whl")
    assert judged(unknown, locked) == ()


def test_the_part_without_a_wheel_is_named() -> None:
    (gap,) = judged(
        H100_570,
        package("tensorrt-cu12==10.9.0.34", sdist=True),
        package("tensorrt-cu12-libs==10.9.0.34", "tensorrt_cu12_libs-1-py3-none-win_amd64.whl"),
    )
    assert gap.package == "tensorrt-cu12"
    assert gap.message == (
        "`tensorrt-cu12-libs` `10.9.0.34` has no wheel for Python 3.12, glibc 2.35 on x86_64"
    )


def test_a_machine_that_no_table_knows_is_not_refused() -> None:
    platform = Platform(system="linux", machine="ppc64le", kind="linux", libc=("glibc", "2.17"))
    odd = replace(host("580.95.05", "13.0", "7.0"), platform=platform)
    assert judged(odd, "torch==2.11.0", "torch==2.11.0+cu128") == ()


def test_a_version_that_cannot_be_installed_names_the_one_that_mends_it() -> None:
    (gap,) = judged(example_host("t4-h100-r580"), "tensorrt-cu13==10.13.3.9", line="13")
    assert (gap.code, gap.nearest) == ("artefact-no-file", "10.13.2.6")
    assert gap.message == "`tensorrt-cu13` `10.13.3.9` cannot be installed"


def test_tensorrt_11_is_not_for_jetson() -> None:
    (gap,) = judged(example_host("jetson-thor"), "tensorrt-cu13==11.0.0.114", line="13")
    assert (gap.code, gap.nearest) == ("artefact-no-file", "10.16.1.11")
    assert gap.message == "`tensorrt-cu13` `11.0.0.114` does not support Jetson"


def test_a_discrete_gpu_beside_a_tegra_chip_is_no_jetson() -> None:
    machine = example_host("igx-orin-dgpu")
    discrete = tuple(gpu for gpu in machine.gpus if not gpu.integrated)
    locked = [package("tensorrt-cu13==11.0.0.114")]
    judge = (version("13"), FACTS, TABLES, PYTHON)
    assert judge_artefacts(locked, machine, discrete, *judge) == ()
    assert judge_artefacts(locked, machine, machine.gpus, *judge) != ()


def test_what_is_no_artefact_is_not_judged() -> None:
    locked = ["numpy==2.0", "nvidia-ml-py==13.0", "tensorrt-llm==1.0", "torch", "torch==?"]
    assert judged(V100_H100, *locked) == ()


LOCK = """
[[packages]]
name = "torch"
version = "2.11.0"
marker = "sys_platform == '{}'"
"""


def test_a_lock_is_judged_for_its_target() -> None:
    known = (version("12"), V100_H100, V100_H100.gpus, FACTS, TABLES)
    assert [gap.package for gap in judge_lock(LOCK.format("linux"), *known, PYTHON)] == ["torch"]
    assert judge_lock(LOCK.format("win32"), *known, PYTHON) == ()
    assert [gap.package for gap in judge_lock(LOCK.format("win32"), *known, None)] == ["torch"]


@pytest.mark.parametrize("python", ["3.11", "3.10", "2.7"])
def test_a_lock_for_other_pythons_says_that_and_nothing_of_its_files(python: str) -> None:
    text = (
        'requires-python = ">=3.12"\n'
        '[[packages]]\nname = "torch"\nversion = "2.10.0"\n'
        'wheels = [{name = "torch-2.10.0-cp312-cp312-manylinux_2_28_x86_64.whl"}]\n'
        '[[packages]]\nname = "tensorrt-cu12-bindings"\nversion = "10.4.0"\n'
        'wheels = [{name = "tensorrt_cu12_bindings-1-cp312-none-manylinux_2_17_x86_64.whl"}]\n'
    )
    known = (version("12"), H100_570, H100_570.gpus, FACTS, TABLES)
    (gap,) = judge_lock(text, *known, Interpreter(version=python))
    assert (gap.code, gap.package, gap.hint) == ("artefact-no-file", "python", None)
    assert gap.message == f"the lock is for Python `>=3.12`, and the target has `{python}`"
    assert judge_lock(text, *known, PYTHON) == ()
    cpu = (None, *known[1:])
    assert judge_lock(text, *cpu, Interpreter(version=python)) == ()


def test_a_lock_that_is_no_toml_is_malformed_for_the_cpu_line_too() -> None:
    with pytest.raises(LockError, match="malformed"):
        judge_lock("[", None, V100_H100, (), FACTS, TABLES, PYTHON)


def test_what_a_lock_for_other_pythons_lacks_besides_is_told_too() -> None:
    text = f'requires-python = ">=3.12"\n{LOCK.format("linux")}'
    known = (version("12"), V100_H100, V100_H100.gpus, FACTS, TABLES)
    gaps = judge_lock(text, *known, Interpreter(version="3.11"))
    assert [gap.code for gap in gaps] == ["artefact-no-file", "artefact-no-code"]


@pytest.mark.parametrize(
    ("machine", "requirement", "expected"),
    [
        ("gtx1080ti-r580", "tensorrt-cu12", ("no-artefact", "6.1", None)),
        ("gtx1080ti-r580", "cuda-toolkit[cudart]==12.*", None),
        ("v100-h100-r580", "tensorrt-cu12", None),
        ("v100-h100-r580", "tensorrt-cu12>=10.5", ("artefact-no-code", "7.0", "10.4.0")),
        ("v100-h100-r580", "tensorrt-cu12==10.9.0.34", ("artefact-no-code", "7.0", "10.4.0")),
        ("v100-h100-r580", "tensorrt-cu12>=99", ("artefact-no-code", "7.0", "10.4.0")),
        ("v100-h100-r580", "TensorRT_cu12<10.3,>=10.1", None),
        ("v100-h100-r580", "torch", None),
        ("v100-h100-r580", "torch>=2.11", ("artefact-no-code", "7.0", "2.10 or 2.14+cu126")),
        ("v100-h100-r580", "torch==2.12.1", ("artefact-no-code", "7.0", "2.10 or 2.12.1+cu126")),
        (
            "v100-h100-r580",
            "torch==2.11.0+cu128",
            ("artefact-no-code", "7.0", "2.10 or 2.11.0+cu126"),
        ),
        ("v100-h100-r580", "torch===2.11.0+cu130", ("artefact-no-code", "7.0", "2.11.0+cu126")),
        ("v100-h100-r580", "torch==2.8.0+cu128", None),
        ("v100-h100-r580", "torch~=2.9.1", None),
        ("v100-h100-r580", "torch~=2.12.1", ("artefact-no-code", "7.0", "2.10 or 2.12+cu126")),
        (
            "v100-h100-r580",
            "torch>=2.11.1,<2.12",
            ("artefact-no-code", "7.0", "2.10 or 2.11+cu126"),
        ),
        (
            "v100-h100-r580",
            "torch>2.11,<=2.11.2",
            ("artefact-no-code", "7.0", "2.10 or 2.11+cu126"),
        ),
        ("v100-h100-r580", "torch==2.11.0rc1", ("artefact-no-code", "7.0", "2.10 or 2.11+cu126")),
        ("v100-h100-r580", "torch==2.11.0+mybuild", None),
        ("v100-h100-r580", "torch==2.11.0+cpu", None),
        ("gtx1080ti-r580", "torch==2.8.0+cu128", ("artefact-no-code", "6.1", "2.8.0+cu126")),
        ("v100-h100-r580", "nvidia-cudnn-cu12", None),
        ("v100-h100-r580", "nvidia-cudnn-cu12>=9.11", ("artefact-no-code", "7.0", "9.10.2.21")),
        ("v100-h100-r580", "nvidia-cudnn-cu12>=9.5,<9.8", None),
        ("k80-r470", "tensorrt-cu11", ("no-artefact", "3.7", None)),
        ("h100-r570", "torch>=2.11", ("artefact-driver", None, "2.10 or 2.14+cu126")),
        ("h100-r570", "tensorrt", None),
        ("h100-r570", "tensorrt-cu13", ("artefact-driver", None, None)),
        ("rtx5090-r575", "cuda-toolkit[cublas]==12.6.*", None),
        ("rtx5090-r575", "nvidia-cublas-cu12<12.8", None),
        ("v100-h100-r580", "cuda-toolkit[cublas]==13.*", ("artefact-no-code", "7.0", "12.9.1")),
        ("v100-h100-r580", "cuda-toolkit[CuBLAS]==13.*", ("artefact-no-code", "7.0", "12.9.1")),
        ("v100-h100-r580", "cuda-toolkit[cudart]==13.*", None),
        ("v100-h100-r580", "nvidia-cublas>=13", ("no-artefact", "7.0", None)),
        ("amazon-linux-2", "tensorrt-cu12>=10.8", ("artefact-no-file", None, "10.7.0.post1")),
        ("amazon-linux-2", "tensorrt-cu12", None),
        ("amazon-linux-2", "torch>=2.7", ("artefact-no-file", None, "2.6")),
        ("alpine", "tensorrt-cu12", ("artefact-no-file", None, None)),
        ("alpine", "torch", ("artefact-no-file", None, None)),
        ("jetson-thor", "tensorrt-cu13>=11", ("artefact-no-file", None, "10.16.1.11")),
        ("dgx-spark", "tensorrt-cu12>=10.13.2", ("artefact-no-file", None, "10.13.0.35")),
        ("dgx-spark", "tensorrt-cu13", None),
        ("jetson-thor", "torch>=2.11", None),
    ],
)
def test_what_no_allowed_version_has_on_a_host(
    machine: str, requirement: str, expected: tuple[str, str | None, str | None] | None
) -> None:
    gaps = [gap for gap in required(example_host(machine), requirement) if gap.hard]
    found = [(gap.code, gap.capability and str(gap.capability), near(gap)) for gap in gaps]
    assert found == ([] if expected is None else [expected])
    assert all(gap.version is None for gap in gaps)


def test_an_index_with_only_ptx_that_the_driver_cannot_compile_needs_a_newer_driver() -> None:
    (gap,) = required(host("580.95.05", "13.0", "13.0"), "torch", line="13", label="cu132")
    assert (gap.code, str(gap.capability), gap.version) == ("artefact-driver", "13.0", None)
    (gap,) = required(host("595.45.04", "13.2", "13.0"), "torch", line="13", label="cu132")
    assert (gap.code, gap.version) == ("artefact-ptx-only", None)


def test_a_requirement_is_told_as_it_was_written() -> None:
    (gap,) = required(V100_H100, "tensorrt-cu12>=10.5")
    assert gap.message == (
        "`tensorrt-cu12>=10.5` has no version for compute capability `7.0` (Tesla V100-SXM2-32GB)"
    )


def test_a_version_that_only_has_no_file_here_is_told_apart() -> None:
    # TensorRT 10.4 has code for Volta, and no wheel for Python 3.13.
    (gap,) = required(V100_H100, "tensorrt-cu12", python=Interpreter(version="3.13"))
    assert gap.message == (
        "`tensorrt-cu12` has no version for compute capability `7.0` (Tesla V100-SXM2-32GB) that "
        "can be installed with Python 3.13, glibc 2.35 on x86_64"
    )
    assert gap.code == "no-artefact"


@pytest.mark.parametrize(
    "requirement",
    [
        "tensorrt-cu12; sys_platform == 'win32'",
        "tensorrt-cu12 @ https://example.test/tensorrt.whl",
        "numpy",
        "not a requirement!",
        "tensorrt-cu12; extra == 'gpu'",
    ],
)
def test_requirements_that_are_not_for_this_host_or_tell_nothing_leave_no_gap(
    requirement: str,
) -> None:
    assert required(example_host("gtx1080ti-r580"), requirement) == ()


def test_a_free_threaded_python_has_no_tensorrt() -> None:
    free = Interpreter(version="3.13", free_threaded=True)
    (gap,) = required(H100_570, "tensorrt-cu12", python=free)
    assert gap.code == "artefact-no-file"


@pytest.mark.parametrize(
    ("requirement", "label", "codes"),
    [
        *(("torch", None, []), ("torch>=2.10", "cu132", [])),
        ("torch<2.16", None, ["artefact-no-file"]),
        ("torch", "cu126", ["artefact-no-file"]),
    ],
)
def test_a_newer_pytorch_may_have_a_wheel_for_a_newer_python(
    requirement: str, label: str | None, codes: list[str]
) -> None:
    newer = Interpreter(version="3.16")
    gaps = required(H100_580, requirement, line="13", python=newer, label=label)
    assert [gap.code for gap in gaps] == codes


def test_free_threaded_builds_of_pytorch_are_known_of_pypi_alone() -> None:
    free = Interpreter(version="3.13", free_threaded=True)
    assert [gap.code for gap in judged(H100_570, "torch==2.6.0", python=free)] == [
        "artefact-no-file"
    ]
    assert judged(H100_570, "torch==2.6.0+cu124", "torch==2.7.0", python=free) == ()


def test_a_version_newer_than_the_tables_may_have_a_file() -> None:
    newer = Interpreter(version="3.15")
    assert required(H100_580, "tensorrt-cu13>=99", line="13", python=newer) == ()
    assert required(H100_580, "tensorrt-cu13", line="13", python=newer) == ()
    (gap,) = required(H100_580, "tensorrt-cu13<11", line="13", python=newer)
    assert gap.code == "artefact-no-file"
    # What stays true of newer versions is held against them.
    assert required(V100_H100, "tensorrt-cu13", line="13", python=newer) != ()
    assert required(H100_570, "tensorrt-cu13", line="13", python=newer) != ()


@pytest.mark.parametrize(
    ("machine", "label", "expected"),
    [
        ("v100-h100-r580", "cu126", []),
        ("v100-h100-r580", "cu128", []),
        ("v100-h100-r580", "cu130", [("no-artefact", "7.0")]),
        ("gtx1080ti-r580", "cu128", [("no-artefact", "6.1")]),
        ("gtx1080ti-r580", "cu126", []),
        ("k80-r470", "cu118", []),
        ("k80-r470", "cu126", [("artefact-driver", None), ("no-artefact", "3.7")]),
        ("rtx5090-r575", "cu126", [("no-artefact", "12.0")]),
        ("rtx5090-r575", "cu129", []),
        ("rtx5090-r575", "cu130", [("artefact-driver", None)]),
        ("dgx-spark", "cu130", []),
        ("dgx-spark", "cu129", []),  # What it holds for aarch64 no table knows.
        ("jetson-thor", "cu130", []),
        ("amazon-linux-2", "cu124", []),
        ("amazon-linux-2", "cu128", [("artefact-no-file", None)]),
        ("alpine", "cu126", [("artefact-no-file", None)]),
        ("t4-h100-r580", "cu132", []),
        ("t4-h100-r580", None, []),
    ],
)
def test_what_every_build_of_an_index_lacks_on_a_host(
    machine: str, label: str | None, expected: list[tuple[str, str | None]]
) -> None:
    line = str(cuda_of_label(label)) if label else "13"
    gaps = required(example_host(machine), "torch", line=line, label=label, python=None)
    found = [(gap.code, gap.capability and str(gap.capability)) for gap in gaps if gap.hard]
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert {gap.package for gap in gaps} <= {"torch"}


def test_an_index_is_told_by_its_label() -> None:
    (gap,) = required(BLACKWELL, "torch", label="cu126")
    assert gap.message == (
        "`torch` of PyTorch's index `cu126` has no version for compute capability `12.0` "
        "(NVIDIA GeForce RTX 5090)"
    )


def test_the_cpu_line_asks_nothing_of_requirements() -> None:
    known = (None, V100_H100, V100_H100.gpus, FACTS, TABLES)
    assert judge_requirements(["torch>=2.11"], *known, PYTHON) == ()


@pytest.mark.parametrize("label", ["cu126", "cu128"])
def test_a_version_named_with_its_index_is_judged_as_of_that_index(label: str) -> None:
    (gap,) = required(example_host("gtx1080ti-r580"), "torch==2.8.0+cu128", label=label)
    assert (gap.code, str(gap.capability)) == ("artefact-no-code", "6.1")
    assert required(example_host("gtx1080ti-r580"), "torch==2.8.0+cu126", label=label) == ()


def test_a_patch_version_is_that_of_its_index() -> None:
    (gap,) = required(V100_H100, "torch~=2.9.1", line="13", label="cu130")
    assert (gap.code, str(gap.capability)) == ("artefact-no-code", "7.0")
    assert required(V100_H100, "torch~=2.9.1", line="12.8", label="cu128") == ()


def test_the_label_of_a_profile_is_that_of_its_index() -> None:
    index = {"name": "p", "url": "https://download.pytorch.org/whl/cu128"}
    other = {"name": "n", "url": "https://pypi.nvidia.com/"}
    assert torch_label(make_profile("mine", "12.8", indexes=[other, index])) == "cu128"
    assert torch_label(make_profile("mine", "12.8", indexes=[other])) is None


CAPABILITIES = st.sampled_from(
    ["3.7", "5.2", "6.1", "7.0", "7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "10.3", "12.0", "13.0"]
)
DRIVERS = st.sampled_from(
    [
        *("440.33", "450.80.02", "470.82.01", "525.60.13", "535.104.05", "550.54.14"),
        *("570.124.06", "575.57.08", "580.95.05", "595.45.04", "617.14", "700.1"),
    ]
)
LOCKED = st.lists(
    st.sampled_from(
        [
            *("torch==2.7.1", "torch==2.10.0", "torch==2.12.1", "torch==2.15.0"),
            *("torch==2.14.0+cu126", "torch==2.7.0+cu128", "torch==2.12.0+cu132"),
            *("tensorrt==10.13.0.35", "tensorrt-cu12==10.4.0", "tensorrt-cu13==11.0.0.114"),
            *("nvidia-cudnn-cu12==9.15.1.9", "nvidia-cublas-cu12==12.6.4.1"),
            *("nvidia-cublas==13.1.0.3", "nvidia-cufft==12.0.0.61"),
        ]
    ),
    unique=True,
    max_size=4,
)
REQUIRED = st.lists(
    st.sampled_from(
        [
            *("torch", "torch>=2.11", "torch<2.8", "tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
            *("tensorrt-cu12>=10.5", "nvidia-cudnn-cu12>=9.11", "cuda-toolkit[cublas]==12.6.*"),
        ]
    ),
    unique=True,
    max_size=3,
)
LABELS = st.sampled_from([None, "cu118", "cu126", "cu128", "cu130"])


def hard(gaps: tuple[Gap, ...]) -> set[tuple[str, str | None]]:
    """What is lacking, and for which GPU, whatever is said about it."""
    return {
        (gap.package, str(gap.capability) if gap.capability else None) for gap in gaps if gap.hard
    }


@given(LOCKED, REQUIRED, LABELS, DRIVERS, st.lists(CAPABILITIES, max_size=3), CAPABILITIES)
def test_another_gpu_never_takes_a_gap_away(  # noqa: PLR0913, PLR0917 - a world each
    locked: list[str],
    requirements: list[str],
    label: str | None,
    driver: str,
    capabilities: list[str],
    another: str,
) -> None:
    before = host(driver, None, *capabilities)
    after = replace(before, gpus=gpus(*capabilities, another))
    assert hard(judged(before, *locked)) <= hard(judged(after, *locked))
    assert hard(required(before, *requirements, label=label)) <= hard(
        required(after, *requirements, label=label)
    )


@given(LOCKED, REQUIRED, LABELS, DRIVERS, DRIVERS, st.lists(CAPABILITIES, max_size=3))
def test_a_newer_driver_never_adds_a_gap(  # noqa: PLR0913, PLR0917 - a world each
    locked: list[str],
    requirements: list[str],
    label: str | None,
    one: str,
    other: str,
    capabilities: list[str],
) -> None:
    older, newer = sorted((one, other), key=DottedVersion.parse)
    before, after = (host(driver, None, *capabilities) for driver in (older, newer))
    assert hard(judged(after, *locked)) <= hard(judged(before, *locked))
    assert hard(required(after, *requirements, label=label)) <= hard(
        required(before, *requirements, label=label)
    )


@given(LOCKED, DRIVERS, st.lists(CAPABILITIES, max_size=3), st.randoms(use_true_random=False))
def test_the_order_of_packages_and_gpus_does_not_matter(
    locked: list[str], driver: str, capabilities: list[str], random: random.Random
) -> None:
    mixed, others = list(locked), list(capabilities)
    random.shuffle(mixed)
    random.shuffle(others)
    assert set(judged(host(driver, None, *capabilities), *locked)) == set(
        judged(host(driver, None, *others), *mixed)
    )


def test_gaps_are_told_for_each_compute_capability_once() -> None:
    two = host("580.95.05", "13.0", "7.0", "7.0", "6.1")
    found = [gap.capability for gap in judged(two, "torch==2.12.1")]
    assert found == [capability("6.1"), capability("7.0")]
