"""Which profiles a host can run, which one is best, and every reason against the others."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.findings import BROKEN, BROKEN_UNTOLD, KINDS, found
from provisioner.core.host import Driver, Finding, Gpu, GpuStatus, Host, with_absence_findings
from provisioner.core.judge import Reason, judge
from provisioner.core.policy import ALL, GpuPolicy, Kind, parse_policy
from provisioner.core.project import Defined
from provisioner.core.select import (
    Candidate,
    Selection,
    consider,
    explain,
    refuse_gaps,
    select,
    selection_data,
    with_artefacts,
)
from provisioner.errors import ProfileError, SelectionError
from tests.core.examples import (
    EMPTY,
    LINUX,
    capability,
    choose,
    gpu,
    gpus,
    host,
    major_lines,
    make_profile,
    minor_lines,
    shipped_facts,
    short_host,
    version,
    with_gpus,
)

FACTS: Final = shipped_facts()
SHIPPED: Final = major_lines()
PROFILES: Final = (*SHIPPED, *minor_lines())
ANY: Final = GpuPolicy(kind="any")
BEST: Final = GpuPolicy(kind="best")


def defined(*extras: str, groups: tuple[str, ...] = ()) -> Defined:
    return Defined(extras=frozenset(extras), groups=frozenset(groups))


def refused(machine: Host, **options: Any) -> SelectionError:  # noqa: ANN401 - handed on
    with pytest.raises(SelectionError) as caught:
        choose(machine, **options)
    assert caught.value.exit_code == 7
    return caught.value


# The hard cases

V100: Final = gpu(0, "7.0", name="Tesla V100-SXM2-16GB", brand="tesla")
H100: Final = gpu(1, "9.0", name="NVIDIA H100 80GB HBM3", brand="nvidia")


def host_with(driver: str | None, cuda: str | None, *cards: Gpu, **platform: Any) -> Host:  # noqa: ANN401 - of a platform
    """A host with these GPUs, on Linux and x86_64 unless said."""
    return replace(with_gpus(host(driver, cuda), *cards), platform=replace(LINUX, **platform))


@pytest.mark.parametrize(
    ("driver", "cuda", "cards", "name", "best"),
    [
        pytest.param("580.95.05", "13.0", "7.0+9.0", "cu12", "cu13", id="V100 and H100"),
        pytest.param("580.95.05", "13.0", "7.5+9.0", "cu13", "cu13", id="T4 and H100"),
        pytest.param("580.95.05", "13.0", "6.1", "cu12", "cu12", id="GTX 1080 Ti on a new driver"),
        pytest.param("580.95.05", "13.0", "5.2+12.0", "cu12", "cu13", id="M60 and RTX 5090"),
        pytest.param("470.82.01", "11.4", "8.0", "cu11", "cu11", id="A100 on an old driver"),
        pytest.param("470.82.01", "11.4", "8.6", "cu11", "cu11", id="RTX 3090 on an old driver"),
        pytest.param("570.124.06", "12.8", "9.0", "cu12", "cu12", id="H100"),
        pytest.param("575.57.08", "12.9", "12.0", "cu12", "cu12", id="RTX 5090"),
        pytest.param("470.82.01", "11.4", "3.7", "cu11", "cu11", id="K80"),
        pytest.param("470.82.01", "11.4", "3.7+8.0", "cu11", "cu11", id="K80 and A100"),
        pytest.param("535.54.03", "12.2", "5.2", "cu12", "cu12", id="M60"),
        pytest.param("580.95.05", "13.0", "12.1", "cu13", "cu13", id="GB10"),
        pytest.param("580.95.05", "13.0", "11.0", "cu13", "cu13", id="Thor"),
        pytest.param("580.95.05", "13.0", "8.9", "cu13", "cu13", id="RTX 4090"),
        pytest.param("615.71.09", "13.4", "10.7", "cu13", "cu13", id="Rubin"),
        pytest.param("525.60.13", "12.0", "9.0", "cu12", "cu12", id="exactly the floor"),
        pytest.param("450.80.02", "11.0", "8.0", "cu11", "cu11", id="exactly the older floor"),
    ],
)
@pytest.mark.parametrize("known", ["both", "driver", "cuda"])
def test_the_newest_line_that_the_gpus_run_is_chosen(  # noqa: PLR0913, PLR0917 - a table
    driver: str, cuda: str, cards: str, name: str, best: str, known: str
) -> None:
    facts = {"both": f"driver={driver},cuda={cuda}", "driver": f"driver={driver}"}
    target = short_host(f"{facts.get(known, f'cuda={cuda}')},gpus={cards}")
    assert choose(target).chosen.profile.name == name
    assert choose(target, policy=BEST).chosen.profile.name == best


@pytest.mark.parametrize(
    ("target", "name"),
    [
        pytest.param(
            host_with("572.60", "12.8", gpu(0, "8.9"), gpu(1, "8.9"), kind="wsl2"),
            "cu12",
            id="two GPUs under WSL 2",
        ),
        pytest.param(
            host_with("580.95.05", "13.0", replace(H100, mig=1)), "cu13", id="one MIG slice"
        ),
        pytest.param(
            host_with("580.95.05", "13.0", replace(H100, mig=0)).with_findings(
                found("no-mig-instance", "GPU 1 is in MIG mode and has no MIG device")
            ),
            "cu13",
            id="MIG without a device",
        ),
        pytest.param(
            host_with("580.95.05", "13.0", gpu(0, name="GRID vGPU"), gpu(1, "8.0")),
            "cu12",
            id="[N/A] beside 8.0",
        ),
        pytest.param(
            host_with("590.44.01", "13.1", gpu(0, name="GRID vGPU"), gpu(1, "8.0")),
            "cu13",
            id="[N/A] beside 8.0 on a driver without old GPUs",
        ),
        pytest.param(
            host_with("535.183.01", "13.0", gpu(0, "8.0", brand="tesla")),
            "cu13",
            id="A100 with a compatibility package",
        ),
        pytest.param(
            host_with(
                *("580.95.05", "13.0", gpu(0, "11.0", name="NVIDIA Thor")),
                machine="aarch64",
                kind="jetson",
            ),
            "cu13",
            id="Jetson Thor",
        ),
        pytest.param(
            host_with(
                *("540.4.0", "12.6", gpu(0, "8.7", name="Orin (nvgpu)")),
                machine="aarch64",
                kind="jetson",
            ),
            "cu12",
            id="Jetson Orin",
        ),
        pytest.param(
            host_with(
                *("580.95.05", "13.0", gpu(0, "8.7", name="Orin (nvgpu)"), gpu(1, "8.9")),
                machine="aarch64",
            ),
            "cu13",
            id="IGX Orin and RTX 6000",
        ),
        pytest.param(
            host_with("580.95.05", "13.0", gpu(0, "12.1", name="NVIDIA GB10"), machine="aarch64"),
            "cu13",
            id="DGX Spark",
        ),
        pytest.param(
            host_with("535.54.03", "12.2", gpu(0, "8.0"), libc=("glibc", "2.26")),
            "cu12",
            id="Amazon Linux 2",
        ),
        pytest.param(
            host_with(
                *(None, "13.4", gpu(0, "12.1")),
                system="windows",
                kind="windows",
                machine="ARM64",
                libc=None,
            ),
            "cu13",
            id="Windows on ARM64",
        ),
        pytest.param(
            host_with("580.95.05", "13.0", gpu(0, "8.0"), gpu(1, status="lost")).with_findings(
                found("gpu-lost", "GPU 1 is lost")
            ),
            "cu13",
            id="one GPU lost",
        ),
        pytest.param(short_host("driver=none"), "cpu", id="no GPU, nothing set"),
        pytest.param(
            with_absence_findings(replace(EMPTY, gpus=(gpu(0),))), "cpu", id="GPU with nouveau"
        ),
        pytest.param(host_with("570.124.06", None), "cpu", id="driver without a device"),
    ],
)
def test_a_host_gets_the_line_that_it_runs(target: Host, name: str) -> None:
    assert choose(with_absence_findings(target)).chosen.profile.name == name


def test_a_target_is_chosen_for_as_the_machine_that_it_describes() -> None:
    here = choose(host_with("580.95.05", "13.0", V100, H100))
    there = choose(short_host("driver=580.95.05,cuda=13.0,gpus=7.0+9.0"))
    assert [item.profile for item in here.usable] == [item.profile for item in there.usable]
    assert here.chosen.profile.name == "cu12"


def test_best_says_that_the_v100_is_left_out() -> None:
    selection = choose(host_with("580.95.05", "13.0", V100, H100), policy=BEST)
    assert selection.chosen.profile.name == "cu13"
    assert selection.chosen.gpus == (H100,)
    assert [(item.code, item.message) for item in selection.warnings] == [
        ("gpu-left-out", "GPU 0 (Tesla V100-SXM2-16GB, `7.0`) cannot run `cu13`")
    ]


@pytest.mark.parametrize(
    ("policy", "name", "left"),
    [("all", "cu12", []), ("any", "cu13", [0]), ("0", "cu12", []), ("1", "cu13", [])],
)
def test_each_policy_chooses_for_its_gpus(policy: str, name: str, left: list[int]) -> None:
    selection = choose(host_with("580.95.05", "13.0", V100, H100), policy=parse_policy(policy))
    assert selection.chosen.profile.name == name
    assert [item.message.split()[1] for item in selection.warnings] == [str(item) for item in left]


def test_a_discrete_gpu_drives_the_choice_beside_an_integrated_one() -> None:
    xavier = gpu(0, "7.2", name="Xavier (nvgpu)")
    target = host_with(
        "580.95.05", "13.0", xavier, gpu(1, "8.9", name="RTX 6000"), machine="aarch64"
    )
    selection = choose(target)
    assert selection.chosen.profile.name == "cu13"
    assert [(item.code, item.message, item.hint) for item in selection.warnings] == [
        (
            "integrated-gpu",
            "GPU 0 (Xavier (nvgpu), `7.2`) is integrated and does not count beside a discrete GPU",
            "`--gpu-policy 0` chooses for it alone",
        )
    ]
    alone = choose(target, policy=parse_policy("0"))
    assert alone.chosen.profile.name == "cu12"
    assert alone.warnings == ()


def test_an_integrated_gpu_that_counts_is_not_said_not_to() -> None:
    # The discrete GPU is lost, so that the integrated one is what is chosen for.
    orin = gpu(0, "8.7", name="Orin (nvgpu)")
    target = host_with("580.95.05", "13.0", orin, gpu(1, "8.9", status="lost"))
    selection = choose(target)
    assert selection.chosen.gpus == (orin,)
    assert "integrated-gpu" not in [warning.code for warning in selection.warnings]


def test_on_musl_a_gpu_is_no_use_and_the_reason_is_told() -> None:
    error = refused(host_with("580.95.05", "13.0", gpu(0, "8.0"), libc=("musl", "1.2")))
    assert error.causes == tuple(
        f"`{name}` has no wheels for musl, host has musl `1.2`" for name in ("cu13", "cu12", "cu11")
    )
    assert error.hint == "`gpuenv prepare --profile cpu` sets up the CPU environment"


def test_on_musl_without_a_gpu_the_cpu_is_chosen() -> None:
    assert choose(short_host("driver=none,musl=1.2")).chosen.profile.name == "cpu"


def test_a_v100_on_a_driver_that_left_it_behind_is_refused() -> None:
    error = refused(host_with("590.44.01", "13.1", V100))
    undriven = (
        "needs a driver that drives compute capability `7.0` (Tesla V100-SXM2-16GB), "
        "up to branch 580, host has `590.44.01`"
    )
    assert error.causes == (
        f"`cu13` {undriven}",
        "`cu13` has no code for compute capability `7.0` (Tesla V100-SXM2-16GB)",
        f"`cu12` {undriven}",
        f"`cu11` {undriven}",
    )


def test_a_machine_without_a_driver_gets_the_cpu() -> None:
    selection = choose(short_host("driver=none"))
    assert selection.chosen.profile.name == "cpu"
    assert [candidate.profile.name for candidate in selection.usable] == ["cpu"]


def test_a_driver_without_known_gpus_decides_alone() -> None:
    selection = choose(short_host("driver=570.124.06"))
    assert selection.chosen.profile.name == "cu12"
    assert [warning.code for warning in selection.warnings] == ["gpus-unknown"]


@pytest.mark.parametrize(
    ("text", "code"),
    [("driver=580,gpus=", "driver-no-device"), ("driver=none,gpus=9.0", "gpu-no-driver")],
)
def test_half_a_gpu_stack_gets_the_cpu_with_a_warning(text: str, code: str) -> None:
    selection = choose(short_host(text))
    assert selection.chosen.profile.name == "cpu"
    assert [warning.code for warning in selection.warnings] == [code]


def test_gpus_that_no_line_covers_together_are_refused_with_every_reason() -> None:
    error = refused(host("470.82.01", "11.4", "3.7", "9.0"))
    undriven = (
        "needs a driver that drives compute capability `9.0`, from branch 520 on, "
        "host has `470.82.01`"
    )
    assert error.message == "no profile fits this host"
    assert error.causes == (
        "`cu13` needs driver >=580, host has `470.82.01`",
        "`cu13` has no code for compute capability `3.7`",
        f"`cu13` {undriven}",
        "`cu12` needs driver >=525.60.13, host has `470.82.01`",
        "`cu12` has no code for compute capability `3.7`",
        f"`cu12` {undriven}",
        f"`cu11` {undriven}",
        "`--gpu-policy any` takes `cu11`, without GPU 1 (`9.0`)",
    )
    assert error.hint == "`gpuenv prepare --profile cpu` sets up the CPU environment"


def test_a_driver_below_every_floor_is_refused_and_not_made_a_cpu_machine() -> None:
    error = refused(host("418.39", "10.1", "7.0"))
    assert "`cu11` needs driver >=450.80.02, host has `418.39`" in error.causes


def test_a_refusal_tells_what_is_known_all_the_same() -> None:
    data = refused(host("418.39", "10.1", "7.0")).data
    assert data is not None
    assert data["profile"] is None
    assert data["usable"] == ["cpu"]


# What another policy would choose

CU13_ONLY: Final = tuple(item for item in SHIPPED if item.name in {"cu13", "cpu"})


def test_an_empty_intersection_names_which_gpu_each_alternative_loses() -> None:
    error = refused(
        host_with("580.95.05", "13.0", V100, replace(V100, index=2), H100), profiles=CU13_ONLY
    )
    lost = "without GPU 0 (Tesla V100-SXM2-16GB, `7.0`), GPU 2 (Tesla V100-SXM2-16GB, `7.0`)"
    assert error.causes == (
        "`cu13` has no code for compute capability `7.0` (Tesla V100-SXM2-16GB)",
        f"`--gpu-policy best` takes `cu13`, {lost}",
        f"`--gpu-policy any` takes `cu13`, {lost}",
    )


def test_an_alternative_is_the_newest_line_of_the_other_policy() -> None:
    # No line is for both: the K80's last driver is older than the first of the RTX 5090.
    error = refused(host("470.82.01", "11.4", "3.7", "12.0"))
    assert [cause for cause in error.causes if "--gpu-policy" in cause] == [
        "`--gpu-policy any` takes `cu11`, without GPU 1 (`12.0`)"
    ]


@pytest.mark.parametrize(
    ("stack", "cards", "policy"),
    [
        pytest.param(("580.95.05", "13.0"), ("7.0",), "all", id="one GPU"),
        pytest.param(("580.95.05", "13.0"), ("7.0", "6.1"), "all", id="no GPU runs it"),
        pytest.param(("580.95.05", "13.0"), ("7.0", "6.1"), "any", id="`any` failed"),
        pytest.param(("570.124.06", "12.8"), ("7.0", "9.0"), "all", id="the driver is too old"),
    ],
)
def test_no_alternative_is_named_that_is_none(
    stack: tuple[str, str], cards: tuple[str, ...], policy: str
) -> None:
    error = refused(host(*stack, *cards), profiles=CU13_ONLY, policy=parse_policy(policy))
    assert [cause for cause in error.causes if "--gpu-policy" in cause] == []


def test_a_project_with_one_line_is_told_the_alternatives_too() -> None:
    error = refused(host_with("580.95.05", "13.0", V100, H100), defined=defined("cu13", "cpu"))
    assert error.causes[-1] == (
        "`--gpu-policy any` takes `cu13`, without GPU 0 (Tesla V100-SXM2-16GB, `7.0`)"
    )


@pytest.mark.parametrize("cards", [("9.0", "9.0"), ("7.0", "9.0")])
def test_no_policy_takes_a_line_that_its_packages_reject(cards: tuple[str, ...]) -> None:
    target = host("580.95.05", "13.0", *cards)
    against = Reason(code="no-wheels", message="`cu13` has no wheels for Python `3.9`")
    candidates = tuple(
        with_artefacts(item, reasons=(against,)) if item.profile.cuda else item
        for item in consider(CU13_ONLY, target, FACTS, None)
    )
    with pytest.raises(SelectionError) as caught:
        select(candidates, target, FACTS)
    assert [cause for cause in caught.value.causes if "--gpu-policy" in cause] == []


def test_an_alternative_passes_over_a_line_that_its_packages_reject() -> None:
    target = host("580.95.05", "13.0", "7.0", "9.0")
    lines = (make_profile("cu130", "13.0"), *CU13_ONLY)
    against = Reason(code="no-wheels", message="`cu130` has no wheels for Python `3.9`")
    candidates = tuple(
        with_artefacts(item, reasons=(against,)) if item.profile.name == "cu130" else item
        for item in consider(lines, target, FACTS, None)
    )
    with pytest.raises(SelectionError) as caught:
        select(candidates, target, FACTS)
    assert [cause for cause in caught.value.causes if "--gpu-policy" in cause] == [
        "`--gpu-policy best` takes `cu13`, without GPU 0 (`7.0`)",
        "`--gpu-policy any` takes `cu13`, without GPU 0 (`7.0`)",
    ]


@pytest.mark.parametrize("kind", ["best", "any"])
def test_an_alternative_loses_no_gpu_that_runs_the_line(kind: Kind) -> None:
    # GPU 1 runs `cu13` though it is not the best.
    target = host("580.95.05", "13.0", "7.0", "7.5", "9.0")
    error = refused(target, profiles=CU13_ONLY)
    assert f"`--gpu-policy {kind}` takes `cu13`, without GPU 0 (`7.0`)" in error.causes
    taken = choose(target, profiles=CU13_ONLY, policy=GpuPolicy(kind=kind))
    assert [item.message for item in taken.warnings] == ["GPU 0 (`7.0`) cannot run `cu13`"]


# Newer than the tables


@pytest.mark.parametrize("newest", ["13.0", "20.0"])
def test_a_newer_compute_capability_than_the_tables_know_is_not_rejected(newest: str) -> None:
    selection = choose(host("700.10", "14.0", newest))
    assert selection.chosen.profile.name == "cu13"
    assert [warning.code for warning in selection.warnings] == ["newer-than-tables"]
    assert f"`{newest}`" in selection.warnings[0].message


def test_a_newer_minor_of_a_known_major_runs_the_code_of_its_major() -> None:
    selection = choose(host("700.10", "13.9", "12.9"))
    assert selection.chosen.profile.name == "cu13"
    assert selection.warnings == ()


def test_a_newer_driver_than_the_tables_know_runs_the_newest_line() -> None:
    assert choose(host("9999.1", "42.0", "9.0")).chosen.profile.name == "cu13"


def test_an_old_gpu_beside_one_newer_than_the_tables_still_counts() -> None:
    assert choose(host("580.95.05", "13.0", "7.0", "13.0")).chosen.profile.name == "cu12"


# A GPU that cannot be used


@pytest.mark.parametrize("code", ["gpu-lost", "no-permission", "gpu-failed"])
def test_a_gpu_that_cannot_be_used_is_passed_over_with_a_warning(code: str) -> None:
    status: Any = {"gpu-lost": "lost", "gpu-failed": "failed"}.get(code, code)
    cards = (Gpu(index=0, compute_capability=capability("8.0")), Gpu(index=1, status=status))
    lost = Finding(code=code, message="GPU 1 cannot be used")
    selection = choose(replace(host("580.95.05", "13.0"), gpus=cards).with_findings(lost))
    assert selection.chosen.profile.name == "cu13"
    assert [(item.code, item.message) for item in selection.warnings] == [(code, lost.message)]


# What was found on the host


@pytest.mark.parametrize(
    "code", sorted(KINDS.keys() - BROKEN - {"no-gpu", "gpu-unknown-to-driver"})
)
def test_a_choice_warns_of_what_was_found(code: str) -> None:
    target = host("580.95.05", "13.0", "9.0").with_findings(
        Finding(code=code, message="found", hint="mend it")
    )
    assert [(w.code, w.message, w.hint) for w in choose(target).warnings] == [
        (code, "found", "mend it")
    ]


def test_a_choice_warns_of_a_gpu_in_mig_mode_without_a_device() -> None:
    missing = found("no-mig-instance", "GPU 1 is in MIG mode and has no MIG device")
    target = host_with("580.95.05", "13.0", replace(H100, mig=0)).with_findings(missing)
    selection = choose(target)
    assert selection.chosen.profile.name == "cu13"
    assert [(w.code, w.message, w.hint) for w in selection.warnings] == [
        (
            "no-mig-instance",
            "GPU 1 is in MIG mode and has no MIG device",
            "make one with `nvidia-smi mig -cgi PROFILE -C`, or turn MIG off",
        )
    ]


def test_that_there_is_no_gpu_is_no_warning() -> None:
    assert "no-gpu" in {finding.code for finding in short_host("driver=none").findings}
    assert choose(short_host("driver=none")).warnings == ()


def test_a_gpu_that_the_driver_does_not_know_is_told_of_once() -> None:
    target = host_with("590.44.01", "13.1", V100, H100).with_findings(
        found("gpu-unknown-to-driver", "driver `590.44.01` does not drive GPU 0")
    )
    selection = choose(target, policy=ANY)
    assert selection.chosen.profile.name == "cu13"
    assert [warning.code for warning in selection.warnings] == ["gpu-left-out"]
    data = refused(target).data
    assert data is not None
    assert data["warnings"] == []


# Order


def test_the_newest_cuda_comes_first_and_a_minor_line_before_its_major() -> None:
    names = [item.profile.name for item in consider(PROFILES, EMPTY, FACTS, None)]
    assert names == [
        *("cu132", "cu130", "cu13"),
        *("cu129", "cu128", "cu126", "cu124", "cu121", "cu12"),
        *("cu118", "cu11", "cpu"),
    ]


def test_a_minor_line_comes_before_its_major_whatever_their_names() -> None:
    lines = (make_profile("zz", "13"), make_profile("aa", "13.0"))
    assert [item.profile.name for item in consider(lines, EMPTY, FACTS, None)] == ["aa", "zz"]


def test_the_order_of_the_files_does_not_matter() -> None:
    machine = host("570.124.06", "12.8", "9.0")
    assert consider(PROFILES, machine, FACTS, None) == consider(
        tuple(reversed(PROFILES)), machine, FACTS, None
    )


# Minor lines


@pytest.mark.parametrize(
    ("driver", "cuda", "cards", "usable"),
    [
        pytest.param(
            *("615.71.09", "13.4", "10.7"),
            "cu132 cu130 cu13 cu129 cu128 cu12",
            id="Rubin",
        ),
        pytest.param(
            *("580.95.05", "13.0", "7.5+9.0"),
            "cu132 cu130 cu13 cu129 cu128 cu126 cu124 cu121 cu12 cu118 cu11",
            id="T4 and H100",
        ),
        pytest.param(
            *("580.95.05", "13.0", "7.0+9.0"),
            "cu129 cu128 cu126 cu124 cu121 cu12 cu118 cu11",
            id="V100 and H100",
        ),
        pytest.param(
            *("580.95.05", "13.0", "7.0+12.0"), "cu129 cu128 cu12", id="V100 and RTX 5090"
        ),
        pytest.param(*("575.57.08", "12.9", "12.0"), "cu129 cu128 cu12", id="RTX 5090"),
        pytest.param(*("575.57.08", "12.9", "12.1"), "cu129 cu128 cu12", id="GB10 on 575"),
        pytest.param(
            *("525.60.13", "12.0", "9.0"),
            "cu129 cu128 cu126 cu124 cu121 cu12 cu118 cu11",
            id="H100 on the floor of CUDA 12",
        ),
        pytest.param(*("470.82.01", "11.4", "3.7"), "cu118 cu11", id="K80"),
        pytest.param(*("580.95.05", "13.0", "11.0"), "cu132 cu130 cu13", id="Thor"),
    ],
)
def test_the_newest_minor_line_that_every_gpu_runs_comes_first(
    driver: str, cuda: str, cards: str, usable: str
) -> None:
    selection = choose(host(driver, cuda, *cards.split("+")), profiles=PROFILES)
    assert [item.profile.name for item in selection.usable] == [*usable.split(), "cpu"]
    assert selection.chosen == selection.usable[0]


def test_blackwell_does_not_run_cuda_12_6() -> None:
    candidates = consider(PROFILES, host("575.57.08", "12.9", "12.0"), FACTS, None)
    (cu126,) = [item for item in candidates if item.profile.name == "cu126"]
    assert [reason.message for reason in cu126.reasons] == [
        "`cu126` has no code for compute capability `12.0`"
    ]


def test_a_project_gets_the_newest_of_its_own_minor_lines() -> None:
    lines = tuple(replace(item, extras=(item.name,)) for item in PROFILES)
    project = defined("cpu", "cu126", "cu128", "cu130")
    named = {
        cards: choose(host("580.95.05", "13.0", *cards), profiles=lines, defined=project)
        for cards in (("9.0",), ("7.0", "9.0"), ("6.1",))
    }
    assert [item.chosen.profile.name for item in named.values()] == ["cu130", "cu128", "cu128"]


# Gaps

GAP: Final = Reason(
    code="no-artefact",
    message="`tensorrt-cu13` has no version for compute capability `6.1`",
    hint="`--profile cu12` has one",
)


def with_gaps(*names: str, target: Host | None = None) -> tuple[Candidate, ...]:
    """The shipped profiles on a host that runs them all, of which some have gaps."""
    target = target or host("580.95.05", "13.0", "9.0")
    return tuple(
        with_artefacts(item, gaps=(GAP,)) if item.profile.name in names else item
        for item in consider(SHIPPED, target, FACTS, None)
    )


@pytest.mark.parametrize(
    ("gaps", "usable"),
    [
        ((), ["cu13", "cu12", "cu11", "cpu"]),
        (("cu13",), ["cu12", "cu11", "cu13", "cpu"]),
        (("cu12",), ["cu13", "cu11", "cu12", "cpu"]),
        (("cu13", "cu12"), ["cu11", "cu13", "cu12", "cpu"]),
        (("cu13", "cu12", "cu11"), ["cu13", "cu12", "cu11", "cpu"]),
        (("cu13", "cu12", "cu11", "cpu"), ["cu13", "cu12", "cu11", "cpu"]),
    ],
)
def test_a_line_with_gaps_comes_behind_those_without_and_before_the_cpu(
    gaps: tuple[str, ...], usable: list[str]
) -> None:
    selection = select(with_gaps(*gaps), host("580.95.05", "13.0", "9.0"), FACTS)
    assert [item.profile.name for item in selection.usable] == usable
    assert selection.warnings == ((GAP,) if "cu11" in gaps else ())


def test_the_only_cuda_line_is_chosen_with_its_gaps_as_warnings() -> None:
    target = host("470.82.01", "11.4", "8.0")
    selection = select(with_gaps("cu11", target=target), target, FACTS)
    assert selection.chosen.profile.name == "cu11"
    assert selection.warnings == (GAP,)


def test_a_forced_line_with_gaps_is_taken_with_them_as_warnings() -> None:
    target = host("580.95.05", "13.0", "9.0")
    selection = select(with_gaps("cu13"), target, FACTS, forced="cu13")
    assert [item.profile.name for item in selection.usable] == ["cu13", "cu12", "cu11", "cpu"]
    assert selection.warnings == (GAP,)


def test_packages_can_reject_a_line_as_the_host_can() -> None:
    target = host("580.95.05", "13.0", "9.0")
    against = Reason(code="no-wheels", message="`cu13` has no wheels for Python 3.9")
    candidates = tuple(
        with_artefacts(item, reasons=(against,)) if item.profile.name == "cu13" else item
        for item in consider(SHIPPED, target, FACTS, None)
    )
    selection = select(candidates, target, FACTS)
    assert selection.chosen.profile.name == "cu12"
    assert selection.candidates[0].reasons == (against,)


def test_what_is_found_in_packages_is_added_to_what_was_known() -> None:
    first, second = (Reason(code="no-code", message=text) for text in ("one", "two"))
    candidate = Candidate(profile=make_profile("mine", "12"), reasons=(first,))
    more = with_artefacts(candidate, reasons=(second,), gaps=(GAP,), warnings=(first,))
    assert (more.reasons, more.gaps, more.warnings) == ((first, second), (GAP,), (first,))
    again = with_artefacts(more, gaps=(GAP,))
    assert (again.reasons, again.gaps, again.warnings) == ((first, second), (GAP, GAP), (first,))
    assert with_artefacts(candidate) == candidate


def test_preparing_packages_that_the_host_cannot_run_is_refused() -> None:
    target = host("580.95.05", "13.0", "9.0")
    selection = select(with_gaps("cu13"), target, FACTS, forced="cu13")
    with pytest.raises(SelectionError) as caught:
        refuse_gaps(selection)
    error = caught.value
    assert error.exit_code == 7
    assert error.code == "no-artefact"
    assert error.message == "`cu13` would install packages that this host cannot run"
    assert error.causes == (GAP.message,)
    assert error.hint == GAP.hint
    assert error.data == selection_data(selection.candidates, selection.warnings, selection)


def test_without_a_better_remedy_force_is_named() -> None:
    bare = replace(GAP, hint=None)
    chosen = Candidate(profile=make_profile("mine", "12"), gaps=(bare, bare))
    with pytest.raises(SelectionError) as caught:
        refuse_gaps(Selection(chosen=chosen, usable=(chosen,), candidates=(chosen,)))
    assert caught.value.causes == (bare.message, bare.message)
    assert caught.value.hint == "`--profile mine --force` installs them all the same"


def test_the_gaps_of_what_was_not_chosen_refuse_nothing() -> None:
    selection = select(with_gaps("cu13"), host("580.95.05", "13.0", "9.0"), FACTS)
    assert selection.chosen.profile.name == "cu12"
    refuse_gaps(selection)


# Forced


def test_an_older_line_may_be_forced_where_a_newer_one_fits() -> None:
    selection = choose(host("580.95.05", "13.0", "9.0"), forced="cu12")
    assert selection.chosen.profile.name == "cu12"
    assert [item.profile.name for item in selection.usable] == ["cu12", "cu13", "cu11", "cpu"]
    assert selection.warnings == ()


def test_a_forced_line_that_does_not_fit_is_refused_with_the_numbers() -> None:
    error = refused(host("570.124.06", "12.8", "9.0"), forced="cu13")
    assert error.message == "profile `cu13` does not fit this host"
    assert error.causes == ("`cu13` needs driver >=580, host has `570.124.06`",)
    assert error.code == "profile-does-not-fit"
    assert error.hint is not None
    assert "--force" in error.hint


def test_a_forced_line_that_does_not_fit_is_taken_with_force_and_a_warning() -> None:
    selection = choose(host("570.124.06", "12.8", "9.0"), forced="cu13", obey=True)
    assert selection.chosen.profile.name == "cu13"
    assert [warning.message for warning in selection.warnings] == [
        "`cu13` needs driver >=580, host has `570.124.06`"
    ]


def test_force_without_need_changes_nothing() -> None:
    machine = host("580.95.05", "13.0", "9.0")
    assert choose(machine, forced="cu12", obey=True) == choose(machine, forced="cu12")


def test_an_unknown_profile_is_an_error_that_shows_the_known_ones() -> None:
    with pytest.raises(ProfileError, match="there is no profile `cu99`") as caught:
        choose(EMPTY, profiles=SHIPPED, forced="cu99")
    assert caught.value.exit_code == 2
    assert caught.value.causes == ("known are `cu13`, `cu12`, `cu11`, `cpu`",)


# Broken machines


@pytest.mark.parametrize("code", sorted(BROKEN | BROKEN_UNTOLD))
def test_a_broken_machine_is_never_made_a_cpu_machine(code: str) -> None:
    broken = Finding(code=code, message="NVML does not start", hint="restart the machine")
    error = refused(EMPTY.with_findings(broken))
    assert error.code == code
    assert error.causes == ("NVML does not start",)
    assert error.hint == "restart the machine; `--profile cpu` sets up the CPU environment"
    assert error.data is not None


@pytest.mark.parametrize("code", sorted(BROKEN_UNTOLD))
def test_a_probe_that_failed_breaks_nothing_that_another_told(code: str) -> None:
    told = host("580.95.05", "13.0", "9.0").with_findings(Finding(code=code, message="broken"))
    assert choose(told).chosen.profile.name == "cu13"
    untold = host_with("580.95.05", "13.0", gpu(0)).with_findings(
        Finding(code=code, message="broken")
    )
    assert refused(untold).code == code


@pytest.mark.parametrize("status", ["lost", "failed", "no-permission"])
def test_a_machine_all_of_whose_gpus_are_out_of_reach_is_never_made_a_cpu_machine(
    status: GpuStatus,
) -> None:
    target = host_with("580.95.05", "13.0", gpu(0, "9.0", status=status), gpu(1, status=status))
    error = refused(with_absence_findings(target))
    assert "`cu13` needs a GPU, and none of the host's can be used" in error.causes
    assert error.hint == "`gpuenv prepare --profile cpu` sets up the CPU environment"


@pytest.mark.parametrize("code", sorted(BROKEN))
def test_a_broken_machine_gets_the_cpu_that_was_asked_for(code: str) -> None:
    machine = host("580.95.05", "13.0", "9.0").with_findings(Finding(code=code, message="broken"))
    selection = choose(machine, forced="cpu")
    assert [item.profile.name for item in selection.usable] == ["cpu"]


def test_a_broken_machine_gets_a_forced_line_only_with_force() -> None:
    machine = host("580.95.05", "13.0", "9.0").with_findings(
        Finding(code="version-mismatch", message="driver and library differ")
    )
    error = refused(machine, forced="cu13")
    assert error.causes == ("driver and library differ",)
    assert choose(machine, forced="cu13", obey=True).chosen.profile.name == "cu13"


# Projects


def test_a_profile_turns_on_the_extras_that_the_project_defines() -> None:
    selection = choose(
        host("580.95.05", "13.0", "9.0"), defined=defined("cuda12", "cu12", "cpu", "docs")
    )
    assert selection.chosen.profile.name == "cu12"
    assert selection.chosen.extras == ("cu12", "cuda12")
    assert selection.chosen.groups == ()


def test_a_dependency_group_serves_where_there_is_no_extra_of_its_name() -> None:
    selection = choose(
        host("580.95.05", "13.0", "9.0"), defined=defined("cu13", groups=("cu13", "cuda13"))
    )
    assert selection.chosen.extras == ("cu13",)
    assert selection.chosen.groups == ("cuda13",)


def test_a_profile_whose_extras_the_project_lacks_is_no_candidate() -> None:
    candidates = consider(SHIPPED, host("580.95.05", "13.0", "9.0"), FACTS, defined("cu12"))
    verdicts = {item.profile.name: [r.code for r in item.reasons] for item in candidates}
    assert verdicts == {
        "cu13": ["extra-not-defined"],
        "cu12": [],
        "cu11": ["extra-not-defined"],
        "cpu": [],
    }
    assert candidates[0].reasons[0].message == (
        "`cu13` needs one of `cu13`, `cuda13`, `cuda13x`, the project defines none"
    )


def test_a_missing_extra_does_not_hide_what_else_is_wrong() -> None:
    candidates = consider(SHIPPED, host("570.124.06", "12.8", "9.0"), FACTS, defined("cu12"))
    assert [reason.code for reason in candidates[0].reasons] == [
        "extra-not-defined",
        "driver-too-old",
    ]


def test_a_project_without_cuda_extras_gets_the_cpu_on_a_gpu_machine_with_a_warning() -> None:
    selection = choose(host("580.95.05", "13.0", "9.0"), defined=defined("docs"))
    assert selection.chosen.profile.name == "cpu"
    assert selection.chosen.extras == ()
    assert [warning.code for warning in selection.warnings] == ["extra-not-defined"]


def test_a_project_without_cuda_extras_gets_the_cpu_on_a_machine_without_a_gpu() -> None:
    selection = choose(short_host("driver=none"), defined=defined("docs"))
    assert selection.chosen.profile.name == "cpu"
    assert selection.warnings == ()


def test_a_project_whose_only_line_does_not_fit_is_refused() -> None:
    error = refused(host("570.124.06", "12.8", "9.0"), defined=defined("cu13", "cpu"))
    assert error.causes == ("`cu13` needs driver >=580, host has `570.124.06`",)


def test_no_force_turns_on_an_extra_that_does_not_exist() -> None:
    error = refused(
        host("580.95.05", "13.0", "9.0"), defined=defined("cu12"), forced="cu13", obey=True
    )
    assert error.message == "profile `cu13` cannot be used here"
    assert error.hint is None


def test_a_profile_without_requirements_is_for_projects_only() -> None:
    only = replace(make_profile("cu128", "12.8", extras=["cu128"]), requirements=None)
    machine = host("580.95.05", "13.0", "9.0")
    (alone, *_) = consider((only,), machine, FACTS, None)
    assert [reason.code for reason in alone.reasons] == ["no-requirements"]
    (inside, *_) = consider((only,), machine, FACTS, defined("cu128"))
    assert inside.accepted


# What is told


def test_the_json_form_has_the_promised_fields() -> None:
    machine = host("570.124.06", "12.8", "9.0")
    candidates = consider(SHIPPED, machine, FACTS, defined("cu13", "cu12", groups=("cuda12",)))
    selection = select(candidates, machine, FACTS)
    data = selection_data(candidates, selection.warnings, selection)

    assert (data["profile"], data["extras"]) == ("cu12", ["cu12", "cuda12"])
    assert data["usable"] == ["cu12", "cpu"]
    assert data["warnings"] == []
    found = {item["profile"]: item for item in data["candidates"]}
    assert [found[name]["accepted"] for name in ("cu13", "cu12", "cu11", "cpu")] == [
        *(False, True, False, True)
    ]
    (reason,) = found["cu13"]["reasons"]
    assert reason["code"] == "driver-too-old"
    assert reason["message"] == "`cu13` needs driver >=580, host has `570.124.06`"
    assert reason["source"].startswith("https://docs.nvidia.com/deploy/cuda-compatibility/")
    assert reason["hint"] == "update the driver to 580 or newer"
    (reason,) = found["cu11"]["reasons"]
    assert reason["code"] == "extra-not-defined"
    assert (reason["source"], reason["hint"]) == (None, None)
    assert found["cu12"]["gpus"] == [0]


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (
            host("580.95.05", "13.0", "9.0", "8.0", "9.0"),
            (
                "driver `580.95.05`, runs CUDA `13.0`, "
                "CUDA 13 has code for compute capability `8.0`, `9.0`"
            ),
        ),
        (short_host("driver=580.95.05"), "driver `580.95.05`"),
        (
            host(None, "12.8", "9.0"),
            "runs CUDA `12.8`, CUDA 12 has code for compute capability `9.0`",
        ),
        (short_host("driver=none"), "no NVIDIA driver and no GPU were found"),
    ],
)
def test_one_line_says_why_a_profile_fits(machine: Host, words: str) -> None:
    assert explain(choose(machine).chosen, machine, FACTS) == words


def test_what_was_asked_for_says_so() -> None:
    machine = host("580.95.05", "13.0", "9.0")
    chosen = choose(machine, forced="cpu").chosen
    assert explain(chosen, machine, FACTS, forced=True) == "as asked for"


def test_code_that_a_gpu_only_may_run_is_not_claimed() -> None:
    machine = host("620.1", "15.0", "15.0")
    why = explain(choose(machine).chosen, machine, FACTS)
    assert why == "driver `620.1`, runs CUDA `15.0`"


# Laws

POLICIES: Final = (ALL, ANY, BEST)
BRANCHES: Final = {row.branch: str(row.cuda) for row in FACTS.branches}
KNOWN: Final = st.sampled_from(["both", "driver", "cuda"])


def of_branch(branch: int, known: str, *cards: Gpu) -> Host:
    """A host with a driver of a branch and the CUDA version that the branch brings."""
    return host_with(
        None if known == "cuda" else f"{branch}.999",
        None if known == "driver" else BRANCHES[branch],
        *cards,
    )


CODE: Final = re.compile(r"[a-z]+(-[a-z]+)+")


def in_form(text: str) -> bool:
    """Whether a message begins in lower case or with a literal, and has no full stop."""
    return (text[0].islower() or text[0] == "`") and not text.endswith(".")


@st.composite
def consistent(draw: st.DrawFn, min_size: int = 1) -> tuple[int, str, tuple[Gpu, ...]]:
    """A driver branch, what is known of the driver, and GPUs that it drives."""
    branch = draw(st.sampled_from(sorted(BRANCHES)))
    cards = st.sampled_from(FACTS.known_to(branch))
    drawn = draw(st.lists(cards, min_size=min_size, max_size=4))
    return branch, draw(KNOWN), gpus(*map(str, drawn))


@st.composite
def odd_gpus(draw: st.DrawFn) -> tuple[Gpu, ...]:
    """GPUs of which some do not tell what they are, or are lost, or integrated."""
    cards = st.sampled_from([None, "3.7", "6.1", "7.0", "7.5", "8.7", "9.0", "12.0", "13.0"])
    names = st.sampled_from([None, None, "NVIDIA H100", "Orin (nvgpu)"])
    states = st.sampled_from(["ok", "ok", "ok", "lost", "no-permission"])
    return tuple(
        gpu(index, draw(cards), name=draw(names), status=draw(states))
        for index in range(draw(st.integers(1, 4)))
    )


def accepted(target: Host, policy: GpuPolicy = ALL) -> set[str]:
    candidates = consider(PROFILES, target, FACTS, None, policy)
    return {item.profile.name for item in candidates if item.accepted}


def answer(target: Host, policy: GpuPolicy) -> tuple[str | None, list[str]]:
    """The chosen profile and the usable ones; None: it is refused."""
    candidates = consider(PROFILES, target, FACTS, None, policy)
    try:
        selection = select(candidates, target, FACTS, policy=policy)
    except SelectionError:
        return None, [item.profile.name for item in candidates if item.accepted]
    return selection.chosen.profile.name, [item.profile.name for item in selection.usable]


@given(st.sampled_from(sorted(BRANCHES)), st.sampled_from(sorted(BRANCHES)), KNOWN, st.data())
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_a_newer_driver_never_takes_a_profile_away(
    policy: GpuPolicy,
    one: int,
    other: int,
    known: str,
    data: Any,  # noqa: ANN401 - hypothesis'
) -> None:
    older, newer = sorted((one, other))
    both = sorted(set(FACTS.known_to(older)) & set(FACTS.known_to(newer)))
    cards = gpus(*map(str, data.draw(st.lists(st.sampled_from(both), max_size=4))))
    before = accepted(of_branch(older, known, *cards), policy)
    after = accepted(of_branch(newer, known, *cards), policy)
    assert before <= after


@given(consistent(), st.data())
def test_another_gpu_never_adds_a_usable_profile(
    target: tuple[int, str, tuple[Gpu, ...]],
    data: Any,  # noqa: ANN401 - hypothesis'
) -> None:
    branch, known, cards = target
    driven = st.sampled_from([None, *map(str, FACTS.known_to(branch))])
    added = gpu(len(cards), data.draw(driven))
    before = accepted(of_branch(branch, known, *cards))
    after = accepted(of_branch(branch, known, *cards, added))
    assert after <= before


@given(st.sampled_from(sorted(BRANCHES)), KNOWN, odd_gpus(), st.data())
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_the_order_of_the_gpus_does_not_matter(
    policy: GpuPolicy,
    branch: int,
    known: str,
    cards: tuple[Gpu, ...],
    data: Any,  # noqa: ANN401 - hypothesis'
) -> None:
    shuffled = data.draw(st.permutations(cards))
    renumbered = [replace(card, index=index) for index, card in enumerate(shuffled)]
    told = answer(of_branch(branch, known, *cards), policy)
    assert answer(of_branch(branch, known, *shuffled), policy) == told
    assert answer(of_branch(branch, known, *renumbered), policy) == told


@given(st.sampled_from(sorted(BRANCHES)), KNOWN, odd_gpus())
def test_any_takes_what_best_takes_and_best_what_all_takes(
    branch: int, known: str, cards: tuple[Gpu, ...]
) -> None:
    target = of_branch(branch, known, *cards)
    assert accepted(target) <= accepted(target, BEST) <= accepted(target, ANY)


@given(st.sampled_from(sorted(BRANCHES)), KNOWN, odd_gpus())
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_every_rejected_profile_has_a_reason_that_names_it(
    policy: GpuPolicy, branch: int, known: str, cards: tuple[Gpu, ...]
) -> None:
    target = of_branch(branch, known, *cards)
    candidates = consider(PROFILES, target, FACTS, defined("cu12", "cu118"), policy)
    data = selection_data(candidates, ())
    assert len(data["candidates"]) == len(PROFILES)
    for candidate in data["candidates"]:
        rejected = candidate["profile"] not in data["usable"]
        assert candidate["accepted"] is not rejected
        assert bool(candidate["reasons"]) is rejected
        for reason in candidate["reasons"]:
            assert CODE.fullmatch(reason["code"])
            assert f"`{candidate['profile']}`" in reason["message"]
            assert in_form(reason["message"])
            assert reason["hint"] is None or in_form(reason["hint"])
            assert reason["source"] != ""
        for warning in candidate["warnings"]:
            assert CODE.fullmatch(warning["code"])
            assert warning["message"].startswith("GPU ")
            assert not warning["message"].endswith(".")


@given(consistent())
def test_a_machine_with_a_gpu_gets_a_line_for_it_or_an_error(
    drawn: tuple[int, str, tuple[Gpu, ...]],
) -> None:
    branch, known, cards = drawn
    target = of_branch(branch, known, *cards)
    if accepted(target) == {"cpu"}:
        assert refused(target, profiles=PROFILES).causes
        return
    selection = choose(target, profiles=PROFILES)
    assert selection.chosen.profile.cuda is not None
    assert selection.chosen == selection.usable[0]
    assert set(selection.chosen.gpus) == set(cards)


def test_a_candidate_without_reasons_is_accepted() -> None:
    profile = make_profile("mine", None)
    assert Candidate(profile=profile).accepted
    driver = Driver(version=version("1"), cuda=None)
    assert judge(profile, replace(EMPTY, driver=driver), FACTS).reasons == ()


# Whose word counts


def test_a_forced_line_that_fits_is_explained_by_what_speaks_for_it() -> None:
    machine = host("580.95.05", "13.0", "9.0")
    chosen = choose(machine, forced="cu12").chosen

    assert explain(chosen, machine, FACTS, forced=True) == (
        "driver `580.95.05`, runs CUDA `13.0`, CUDA 12 has code for compute capability `9.0`"
    )


def test_a_forced_line_that_does_not_fit_was_just_asked_for() -> None:
    machine = host("535.54.03", "12.2", "9.0")
    chosen = choose(machine, forced="cu13", obey=True).chosen

    assert not chosen.accepted
    assert explain(chosen, machine, FACTS, forced=True) == "as asked for"


def test_default_groups_of_other_profiles_are_turned_off() -> None:
    groups = frozenset({"cu12", "cu13", "dev"})
    project = Defined(extras=frozenset(), groups=groups, default_groups=groups)

    candidates = consider(SHIPPED, host("580.95.05", "13.0", "9.0"), FACTS, project)

    without = {item.profile.name: item.without for item in candidates}
    assert without["cu13"] == ("cu12",)
    assert without["cu12"] == ("cu13",)
    assert without["cpu"] == ("cu12", "cu13")


def test_groups_that_are_no_default_need_not_be_turned_off() -> None:
    project = defined(groups=("cu12", "cu13", "dev"))

    candidates = consider(SHIPPED, host("580.95.05", "13.0", "9.0"), FACTS, project)

    assert {item.without for item in candidates} == {()}


def test_without_a_project_no_group_is_turned_off() -> None:
    candidates = consider(SHIPPED, host("580.95.05", "13.0", "9.0"), FACTS, None)

    assert {item.without for item in candidates} == {()}
