"""Whether a host can run a profile: each rule with its code, numbers, source and remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from provisioner.core.judge import Reason, Verdict, judge, runs_line
from provisioner.core.policy import ALL, GpuPolicy, Kind, parse_policy
from provisioner.errors import UsageError
from tests.core.examples import (
    EMPTY,
    LINUX,
    capability,
    gpu,
    host,
    major_lines,
    make_profile,
    minor_lines,
    shipped_facts,
    short_host,
    version,
    with_gpus,
)

if TYPE_CHECKING:
    from provisioner.core.host import Host

FACTS: Final = shipped_facts()
PROFILES: Final = {item.name: item for item in (*major_lines(), *minor_lines())}
ANY: Final = GpuPolicy(kind="any")
BEST: Final = GpuPolicy(kind="best")

FLOOR_SOURCE: Final = (
    "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html"
)
"""Where the floors of CUDA 11, 12 and 13 are from."""


def verdict(name: str, machine: Host, policy: GpuPolicy = ALL) -> Verdict:
    return judge(PROFILES[name], machine, FACTS, policy)


def reasons(name: str, machine: Host, policy: GpuPolicy = ALL) -> list[str]:
    return [reason.message for reason in verdict(name, machine, policy).reasons]


def codes(name: str, machine: Host, policy: GpuPolicy = ALL) -> list[str]:
    return [reason.code for reason in verdict(name, machine, policy).reasons]


def only(name: str, machine: Host, policy: GpuPolicy = ALL) -> Reason:
    (reason,) = verdict(name, machine, policy).reasons
    return reason


def on_wsl2(machine: Host) -> Host:
    return replace(machine, platform=replace(LINUX, kind="wsl2"))


# The driver


@pytest.mark.parametrize(
    ("name", "floor", "below"),
    [
        ("cu13", "580", "579.99"),
        ("cu12", "525.60.13", "525.60.12"),
        ("cu11", "450.80.02", "450.80.01"),
        ("cu128", "525.60.13", "525.60.12"),
    ],
)
def test_the_floor_of_linux_is_exact(name: str, floor: str, below: str) -> None:
    assert reasons(name, host(floor, None, "8.0")) == []
    reason = only(name, host(below, None, "8.0"))
    assert reason.code == "driver-too-old"
    assert reason.message == f"`{name}` needs driver >={floor}, host has `{below}`"
    assert reason.source == FLOOR_SOURCE


@pytest.mark.parametrize(
    ("name", "floor", "below"),
    [
        ("cu13", "580", "579.99"),
        ("cu12", "528.33", "528.32"),
        ("cu11", "452.39", "452.38"),
    ],
)
def test_on_wsl2_the_floor_is_that_of_windows(name: str, floor: str, below: str) -> None:
    assert reasons(name, on_wsl2(host(floor, None, "8.0"))) == []
    reason = only(name, on_wsl2(host(below, None, "8.0")))
    assert reason.code == "driver-too-old"
    assert reason.message == f"`{name}` needs driver >={floor}, host has `{below}`"
    assert reason.source == FLOOR_SOURCE


def test_a_driver_between_both_floors_is_judged_by_its_own_numbering() -> None:
    machine = host("526.98", None, "8.9")
    assert reasons("cu12", machine) == []
    assert reasons("cu12", on_wsl2(machine)) == ["`cu12` needs driver >=528.33, host has `526.98`"]


def test_a_line_of_its_own_minor_has_a_floor_of_its_own() -> None:
    profile = make_profile("cu102", "10.2")
    found = judge(profile, host("440.32", None, "7.0"), FACTS).reasons
    assert [(reason.code, reason.message) for reason in found] == [
        ("driver-too-old", "`cu102` needs driver >=440.33, host has `440.32`"),
        ("no-code", "`cu102` has no code for compute capability `7.0`"),
    ]
    assert found[0].source == "astral-sh/uv crates/uv-torch/src/backend.rs, driver tables"


def test_what_the_user_mode_driver_runs_decides_where_it_is_known() -> None:
    # A compatibility package on an older kernel driver.
    assert reasons("cu13", host("535.183.01", "13.0", "8.0")) == []
    assert reasons("cu12", host("470.82.01", "12.8", "8.0")) == []


def test_a_user_mode_driver_of_an_older_major_does_not_run_the_line() -> None:
    reason = only("cu13", host("580.95.05", "12.8", "9.0"))
    assert reason.code == "cuda-too-old"
    assert reason.message == "`cu13` needs a driver that runs CUDA >=13.0, host has `12.8`"
    assert reason.source == FLOOR_SOURCE


def test_a_driver_of_which_only_the_cuda_version_is_known_is_judged_by_it() -> None:
    assert reasons("cu12", host(None, "12.0", "9.0")) == []
    reason = only("cu13", host(None, "12.8", "9.0"))
    assert reason.code == "cuda-too-old"
    assert reason.hint == "update the driver to 580 or newer"


def test_a_minor_line_runs_on_an_older_minor_of_its_major() -> None:
    assert reasons("cu129", host("525.60.13", "12.0", "9.0")) == []


def test_a_driver_of_which_nothing_is_known_is_no_proof() -> None:
    reason = only("cu13", host(None, None, "9.0"))
    assert reason.code == "driver-unknown"
    assert reason.message == "`cu13` needs driver >=580, the host's version is unknown"
    assert reason.source == FLOOR_SOURCE


def test_a_host_without_a_driver_has_none() -> None:
    reason = only("cu13", EMPTY)
    assert reason.code == "no-driver"
    assert reason.message == "`cu13` needs driver >=580, host has none"
    assert reason.source == FLOOR_SOURCE
    assert codes("cpu", EMPTY) == []


def test_a_line_that_the_tables_do_not_know_says_so() -> None:
    (reason, *_) = judge(make_profile("cu14", "14"), host("700", None, "9.0"), FACTS).reasons
    assert reason.code == "cuda-unknown"
    assert reason.message == "`cu14` is for CUDA 14, which the compatibility tables do not know"


# A remedy for the driver

COMPAT_12_8: Final = (
    "update the driver to 525.60.13 or newer, "
    "or put NVIDIA's `cuda-compat-12-8` first on the library path"
)


def cu12_hint(driver: str, *brands: str | None, wsl2: bool = False) -> str | None:
    cards = (gpu(index, "8.0", brand=brand) for index, brand in enumerate(brands))
    machine = with_gpus(host(driver, None), *cards)
    return only("cu12", on_wsl2(machine) if wsl2 else machine).hint


def test_an_a100_on_470_may_use_a_compatibility_package() -> None:
    assert cu12_hint("470.82.01", "tesla") == COMPAT_12_8
    assert cu12_hint("470.82.01", "tesla", "nvidia") == COMPAT_12_8


@pytest.mark.parametrize(
    "brands", [("geforce",), (None,), ("tesla", "geforce"), ("tesla", None), ("titan",)]
)
def test_without_a_brand_that_may_there_is_no_word_of_a_compatibility_package(
    brands: tuple[str | None, ...],
) -> None:
    assert cu12_hint("470.82.01", *brands) == "update the driver to 525.60.13 or newer"


def test_an_rtx_3090_on_470_gets_no_compatibility_package() -> None:
    machine = with_gpus(host("470.82.01", "11.4"), gpu(0, "8.6", brand="geforce"))
    assert only("cu12", machine).hint == "update the driver to 525.60.13 or newer"
    assert codes("cu11", machine) == []


def test_a_compatibility_package_is_for_branches_and_not_for_what_is_newer() -> None:
    # CUDA 12.8 runs on branch 470; no package of CUDA 12 is for branch 510.
    assert cu12_hint("510.47.03", "tesla") == "update the driver to 525.60.13 or newer"


def test_the_newest_compatibility_package_for_the_branch_is_named() -> None:
    machine = with_gpus(host("535.54.03", "12.2"), gpu(0, "9.0", brand="tesla"))
    assert only("cu13", machine).hint == (
        "update the driver to 580 or newer, "
        "or put NVIDIA's `cuda-compat-13-2` first on the library path"
    )
    assert only("cu130", machine).hint == (
        "update the driver to 580 or newer, "
        "or put NVIDIA's `cuda-compat-13-0` first on the library path"
    )


def test_under_wsl2_there_are_no_compatibility_packages() -> None:
    assert cu12_hint("472.50", "tesla", wsl2=True) == "update the driver to 528.33 or newer"


@pytest.mark.parametrize("name", ["cu12", "cu13"])
def test_a_gpu_whose_last_driver_is_too_old_is_not_told_to_update(name: str) -> None:
    machine = with_gpus(host("470.82.01", "11.4"), gpu(0, "3.7", brand="tesla", name="Tesla K80"))
    found = verdict(name, machine).reasons
    assert [reason.code for reason in found] == ["driver-too-old", "no-code"]
    assert [reason.hint for reason in found] == [None, None]


def test_a_gpu_that_a_newer_driver_still_drives_is_told_to_update() -> None:
    reason = only("cu11", host("418.39", "10.1", "3.7"))
    assert reason.hint == (
        "update the driver to 450.80.02 or newer, up to branch 470, the last that drives these GPUs"
    )


UP_TO_580: Final = (
    "update the driver to 525.60.13 or newer, up to branch 580, the last that drives these GPUs"
)


@pytest.mark.parametrize(
    ("brand", "hint"),
    [
        ("titan", UP_TO_580),
        ("tesla", f"{UP_TO_580}, or put NVIDIA's `cuda-compat-12-8` first on the library path"),
    ],
)
def test_a_v100_on_470_may_be_updated_up_to_the_last_branch_that_drives_it(
    brand: str, hint: str
) -> None:
    machine = with_gpus(host("470.82.01", "11.4"), gpu(0, "7.0", brand=brand))
    assert only("cu12", machine).hint == hint


def test_the_gpu_that_is_left_behind_first_ends_the_update_of_all() -> None:
    # A100s are still driven; a V100 was left behind after 580.
    assert only("cu12", host("510.47.03", "11.6", "8.0", "7.0", "8.0")).hint == UP_TO_580
    assert only("cu12", host("510.47.03", "11.6", "8.0")).hint == (
        "update the driver to 525.60.13 or newer"
    )


@pytest.mark.parametrize(("last", "advised"), [(524, False), (525, True)])
def test_an_update_is_advised_where_the_last_branch_reaches_the_floor(
    last: int, *, advised: bool
) -> None:
    rows = tuple(
        replace(row, last_driver_branch=last)
        if row.compute_capability == capability("7.0")
        else row
        for row in FACTS.architectures
    )
    facts = replace(FACTS, architectures=rows)
    (reason,) = judge(PROFILES["cu12"], host("510.47.03", "11.6", "7.0"), facts).reasons
    assert reason.code == "driver-too-old"
    assert reason.hint == (UP_TO_580.replace("580", str(last)) if advised else None)


def test_a_driver_above_the_floor_is_told_of_another_libcuda_and_not_to_update() -> None:
    # The kernel driver is above the floor; an older `libcuda.so.1` is what is in the way.
    assert only("cu13", host("580.95.05", "12.8", "9.0")).hint == (
        "look for another `libcuda.so.1` before the driver's own on the library path"
    )


# With the hint taken, the line would have no code all the same.
@pytest.mark.parametrize(
    "stack",
    [
        ("570.124.06", "12.8"),
        ("590.44.01", "13.1"),
        ("580.95.05", "12.8"),
    ],
)
def test_no_driver_is_advised_for_a_line_without_code_for_the_gpu(stack: tuple[str, str]) -> None:
    found = verdict("cu13", host(*stack, "7.0")).reasons
    assert "no-code" in [reason.code for reason in found]
    assert [reason.hint for reason in found if reason.hint] == []


# Driver and GPU


@pytest.mark.parametrize(
    ("name", "card", "driver", "cuda", "numbers", "hint"),
    [
        pytest.param(
            *("cu12", "7.0", "590.44.01", "13.1"),
            "up to branch 580",
            "install a driver of branch 580",
            id="V100 after its last",
        ),
        pytest.param(
            *("cu11", "9.0", "470.82.01", "11.4"),
            "from branch 520 on",
            "install a driver of branch 520 or newer",
            id="H100 before its first",
        ),
        pytest.param(
            *("cu12", "12.0", "565.57.01", "12.7"),
            "from branch 570 on",
            "install a driver of branch 570 or newer",
            id="RTX 5090 before its first",
        ),
        pytest.param(
            *("cu11", "3.7", "495.29.05", "11.5"),
            "up to branch 470",
            "install a driver of branch 470",
            id="K80 after its last",
        ),
    ],
)
@pytest.mark.parametrize("known", [True, False], ids=["cuda", "no cuda"])
def test_a_driver_that_does_not_know_the_gpu_is_rejected(  # noqa: PLR0913, PLR0917 - a table
    name: str, card: str, driver: str, cuda: str, numbers: str, hint: str, *, known: bool
) -> None:
    machine = with_gpus(host(driver, cuda if known else None), gpu(0, card, name="Card"))
    reason = only(name, machine)
    row = FACTS.architecture(capability(card))
    assert row is not None
    assert reason.code == "gpu-unknown-to-driver"
    assert reason.message == (
        f"`{name}` needs a driver that drives compute capability `{card}` (Card), {numbers}, "
        f"host has `{driver}`"
    )
    assert reason.hint == hint
    assert reason.source == row.source
    assert reason.source


@pytest.mark.parametrize(
    ("card", "driver"),
    [("7.0", "580.95.05"), ("9.0", "520.61.05"), ("12.0", "570.26"), ("3.7", "470.256.02")],
)
def test_the_first_and_the_last_branch_know_the_gpu(card: str, driver: str) -> None:
    assert [
        code
        for name in ("cu13", "cu12", "cu11")
        for code in codes(name, host(driver, None, card))
        if code == "gpu-unknown-to-driver"
    ] == []


def test_a_gpu_that_the_driver_left_behind_is_told_of_code_that_is_missing_too() -> None:
    machine = host("590.44.01", "13.1", "7.0")
    assert codes("cu13", machine) == ["gpu-unknown-to-driver", "no-code"]
    undriven, no_code = reasons("cu13", machine)
    assert undriven == (
        "`cu13` needs a driver that drives compute capability `7.0`, up to branch 580, "
        "host has `590.44.01`"
    )
    assert no_code == "`cu13` has no code for compute capability `7.0`"


def test_a_windows_driver_belongs_to_the_branch_below_it() -> None:
    # 581.29 is of branch 580, which still drives a V100; 591.44 is of branch 590.
    assert codes("cu12", on_wsl2(host("581.29", None, "7.0"))) == []
    assert codes("cu12", on_wsl2(host("591.44", None, "7.0"))) == ["gpu-unknown-to-driver"]


def test_a_driver_newer_than_the_tables_has_left_the_old_gpus_behind() -> None:
    assert codes("cu12", host("9999.1", None, "7.0")) == ["gpu-unknown-to-driver"]
    assert codes("cu12", host("9999.1", None, "9.0")) == []


def test_without_the_number_of_the_driver_nobody_knows_its_gpus() -> None:
    assert codes("cu12", host(None, "13.1", "7.0")) == []


# Code


@pytest.mark.parametrize(
    ("name", "card", "driver"),
    [
        ("cu13", "7.0", "580.95.05"),
        ("cu13", "6.1", "580.95.05"),
        ("cu12", "3.7", "470.82.01"),
        ("cu11", "12.0", "570.124.06"),
        ("cu126", "12.0", "575.57.08"),
        ("cu118", "10.0", "570.124.06"),
    ],
)
def test_a_line_without_code_for_a_gpu_is_rejected(name: str, card: str, driver: str) -> None:
    machine = host(driver, "13.0", card)
    reason = only(name, machine)
    assert reason.code == "no-code"
    assert reason.message == f"`{name}` has no code for compute capability `{card}`"
    assert reason.source in {row.source for row in FACTS.toolkits}
    assert reason.source
    assert reason.source.startswith("nvrtcGetSupportedArchs()")
    assert reason.hint is None


@pytest.mark.parametrize("cuda", ["12.7", "13.9"])
def test_a_minor_line_that_is_not_in_the_tables_names_the_source_too(cuda: str) -> None:
    found = judge(make_profile("mine", cuda), host(None, "13.9", "3.7"), FACTS).reasons
    assert [reason.code for reason in found] == ["no-code"]
    assert found[0].source in {row.source for row in FACTS.toolkits}


# The code of a minor version that is not in the tables is that of the newest one below it.
@pytest.mark.parametrize(("cuda", "row"), [("12.6", "12.6"), ("12.7", "12.6"), ("13.9", "13.5")])
def test_the_source_is_that_of_the_row_that_the_code_is_from(cuda: str, row: str) -> None:
    rows = tuple(replace(item, source=f"the table of {item.cuda}") for item in FACTS.toolkits)
    facts = replace(FACTS, toolkits=rows)
    (reason,) = judge(make_profile("mine", cuda), host(None, "13.9", "3.7"), facts).reasons
    assert reason.source == f"the table of {row}"


def test_a_reason_names_each_kind_of_gpu_once() -> None:
    machine = with_gpus(
        host("580.95.05", "13.0"),
        gpu(0, "7.0", name="Tesla V100"),
        gpu(1, "6.1"),
        gpu(2, "7.0", name="Tesla V100"),
        gpu(3, "9.0", name="NVIDIA H100"),
    )
    assert reasons("cu13", machine) == [
        "`cu13` has no code for compute capability `6.1`",
        "`cu13` has no code for compute capability `7.0` (Tesla V100)",
    ]


def test_where_a_better_gpu_is_there_a_policy_leaves_the_weak_one_out() -> None:
    machine = with_gpus(host("580.95.05", "13.0"), gpu(0, "7.0", name="Tesla V100"), gpu(1, "9.0"))
    assert only("cu13", machine).hint == (
        "`--gpu-policy best` leaves compute capability `7.0` (Tesla V100) out"
    )
    assert only("cu11", host("580.95.05", "13.0", "7.0", "12.0")).hint is None


def test_where_the_best_gpu_has_no_code_either_leaving_the_weak_one_out_is_no_remedy() -> None:
    found = verdict("cu11", host("580.95.05", "13.0", "10.0", "12.0")).reasons
    assert [(reason.message, reason.hint) for reason in found] == [
        ("`cu11` has no code for compute capability `10.0`", None),
        ("`cu11` has no code for compute capability `12.0`", None),
    ]


# `best` is refused too: by the driver, which is older than the GPU, or by what the profile needs.
@pytest.mark.parametrize(
    ("stack", "cards", "needs"),
    [
        pytest.param(("525.60.13", "12.0"), ("3.7", "12.0"), {}, id="its driver"),
        pytest.param(
            *(("580.95.05", "13.0"), ("3.7", "8.6"), {"compute-capability": ">=9.0"}), id="needs"
        ),
    ],
)
def test_where_the_best_gpu_is_rejected_too_no_policy_is_named(
    stack: tuple[str, str], cards: tuple[str, ...], needs: dict[str, str]
) -> None:
    machine, profile = host(*stack, *cards), make_profile("mine", "12", needs=needs)
    assert judge(profile, machine, FACTS, BEST).reasons
    found = judge(profile, machine, FACTS).reasons
    assert "no-code" in [reason.code for reason in found]
    assert [reason.hint for reason in found if "best" in (reason.hint or "")] == []


# The GPU that is newer than the tables runs the line under `best`.
def test_a_policy_is_named_where_the_better_gpu_is_newer_than_the_tables() -> None:
    machine = host("580.95.05", "13.0", "7.0", "13.0")
    assert codes("cu13", machine, BEST) == []
    assert only("cu13", machine).hint == ("`--gpu-policy best` leaves compute capability `7.0` out")


@pytest.mark.parametrize(
    ("card", "cuda", "runs"),
    [
        ("8.9", "11", True),
        ("9.0", "11", True),
        ("10.0", "11", False),
        ("7.0", "12", True),
        ("7.0", "13", False),
        ("12.0", "12", True),
        ("12.0", "12.6", False),
        ("12.1", "12.8", True),
        ("10.7", "13.2", True),
        ("11.0", "12", False),
        ("3.7", "12", False),
    ],
)
def test_a_line_runs_where_a_toolkit_of_it_has_machine_code(
    card: str, cuda: str, *, runs: bool
) -> None:
    assert runs_line(capability(card), version(cuda), FACTS) is runs


# Newer than the tables


@pytest.mark.parametrize(("card", "newer"), [("12.1", False), ("12.9", False), ("13.0", True)])
def test_newer_than_the_tables_is_a_newer_major(card: str, *, newer: bool) -> None:
    assert FACTS.is_newer(capability(card)) is newer


@pytest.mark.parametrize("name", ["cu13", "cu12", "cu11"])
def test_a_gpu_newer_than_the_tables_is_not_rejected(name: str) -> None:
    assert reasons(name, host("700.10", "14.0", "13.0")) == []


def test_a_gpu_newer_than_the_tables_does_not_excuse_the_others() -> None:
    assert reasons("cu13", host("580.95.05", "13.0", "7.0", "13.0")) == [
        "`cu13` has no code for compute capability `7.0`"
    ]


def test_a_gpu_newer_than_the_tables_does_not_excuse_the_driver() -> None:
    assert codes("cu13", host("570.124.06", "12.8", "13.0")) == ["driver-too-old"]


# A GPU that does not tell its compute capability


def with_untold(driver: str, cuda: str) -> Host:
    """An A100 beside a GPU that answers `[N/A]`."""
    return with_gpus(host(driver, cuda), gpu(0, "8.0"), gpu(1))


def test_a_gpu_that_does_not_tell_may_be_an_old_one_that_the_driver_drives() -> None:
    machine = with_untold("580.95.05", "13.0")
    reason = only("cu13", machine)
    assert reason.code == "capability-unknown"
    assert reason.message == (
        "`cu13` has no code for compute capability `5.0` to `7.0`, which GPU 1 may have: it does "
        "not tell, and driver `580.95.05` drives such GPUs"
    )
    assert reason.hint == (
        "name the compute capabilities of all GPUs: `GPUENV_GPUS=9.0+8.0`, or in the target"
    )
    assert reasons("cu12", machine) == []
    assert [card.index for card in verdict("cu13", machine).gpus] == [0]


def test_a_driver_that_drives_no_old_gpu_is_proof_enough() -> None:
    machine = with_untold("590.44.01", "13.1")
    assert reasons("cu13", machine) == []
    assert codes("cu11", machine) == ["capability-unknown"]


def test_a_gpu_that_does_not_tell_may_be_too_new_for_an_old_line() -> None:
    assert "`10.0` to `12.1`" in only("cu11", with_untold("580.95.05", "13.0")).message
    assert reasons("cu11", with_untold("535.54.03", "12.2")) == []


def test_best_leaves_a_gpu_out_that_does_not_tell() -> None:
    found = verdict("cu13", with_untold("580.95.05", "13.0"), BEST)
    assert found.reasons == ()
    assert [card.index for card in found.gpus] == [0]
    assert [card.index for card in found.left_out] == [1]


def test_a_gpu_that_does_not_tell_is_judged_by_tables_that_are_named() -> None:
    # The first that CUDA 13 has no code for and that branch 580 drives.
    row = FACTS.architecture(capability("5.0"))
    assert row is not None
    assert row.source
    assert only("cu13", with_untold("580.95.05", "13.0")).source == row.source


def test_a_gpu_that_does_not_tell_is_unknown_without_the_drivers_number_too() -> None:
    # CUDA 13.0 is what branch 580 brings, and that drives a V100.
    machine = with_gpus(host(None, "13.0"), gpu(0, "8.0"), gpu(1))
    reason = only("cu13", machine)
    assert reason.code == "capability-unknown"
    assert reason.message == (
        "`cu13` has no code for compute capability `5.0` to `7.0`, which GPU 1 may have: it does "
        "not tell, and CUDA `13.0`'s driver drives such GPUs"
    )
    assert codes("cu13", with_gpus(host(None, "13.1"), gpu(0, "8.0"), gpu(1))) == []


# No GPU


def test_a_driver_without_gpus_runs_no_line() -> None:
    machine = host("580.95.05", "13.0")
    assert reasons("cu13", machine) == ["`cu13` needs a GPU, host has none"]
    assert codes("cu13", machine) == ["no-gpu"]
    assert codes("cpu", machine) == []


@pytest.mark.parametrize("policy", [ALL, ANY, BEST], ids=str)
def test_gpus_none_of_which_can_be_used_are_told_apart_from_none(policy: GpuPolicy) -> None:
    machine = with_gpus(host("580.95.05", "13.0"), gpu(0, "9.0", status="lost"))
    reason = only("cu13", machine, policy)
    assert reason.code == "no-gpu"
    assert reason.message == "`cu13` needs a GPU, and none of the host's can be used"


def test_a_driver_whose_gpus_nobody_named_decides_alone() -> None:
    machine = short_host("driver=570.124.06")
    assert reasons("cu12", machine) == []
    assert codes("cu13", machine) == ["driver-too-old"]


# Wheels


@pytest.mark.parametrize("name", ["cu13", "cu12", "cu11", "cu128"])
def test_there_are_no_cuda_wheels_for_musl(name: str) -> None:
    machine = host("580.95.05", "13.0", "8.0")
    musl = replace(machine, platform=replace(LINUX, libc=("musl", "1.2")))
    reason = only(name, musl)
    assert reason.code == "no-wheels"
    assert reason.message == f"`{name}` has no wheels for musl, host has musl `1.2`"
    assert reason.source
    assert reason.hint == "use an image with glibc, such as Debian's or Ubuntu's"
    assert codes("cpu", musl) == []


# Policies


def test_any_takes_a_line_for_the_gpus_that_run_it_and_names_the_others() -> None:
    machine = with_gpus(
        host("580.95.05", "13.0"), gpu(0, "7.0", name="Tesla V100"), gpu(1, "9.0"), gpu(2, "7.5")
    )
    found = verdict("cu13", machine, ANY)
    assert found.reasons == ()
    assert [card.index for card in found.gpus] == [1, 2]
    assert [card.index for card in found.left_out] == [0]


def test_what_is_rejected_still_tells_the_gpus_that_would_run_it() -> None:
    found = verdict("cu13", host("580.95.05", "13.0", "7.0", "9.0"))
    assert [reason.code for reason in found.reasons] == ["no-code"]
    assert [card.index for card in found.gpus] == [1]
    assert found.left_out == ()


def test_any_rejects_what_no_gpu_runs_with_the_reason_of_each() -> None:
    assert reasons("cu13", host("580.95.05", "13.0", "7.0", "6.1"), ANY) == [
        "`cu13` has no code for compute capability `6.1`",
        "`cu13` has no code for compute capability `7.0`",
    ]


def test_best_names_the_weaker_gpus_that_cannot_run_the_line_only() -> None:
    found = verdict("cu13", host("580.95.05", "13.0", "7.0", "7.5", "9.0"), BEST)
    assert found.reasons == ()
    assert [card.index for card in found.gpus] == [2]
    assert [card.index for card in found.left_out] == [0]


def test_best_does_not_fall_back_on_a_weaker_gpu() -> None:
    found = verdict("cu11", host("580.95.05", "13.0", "7.0", "12.0"), BEST)
    assert [reason.message for reason in found.reasons] == [
        "`cu11` has no code for compute capability `12.0`"
    ]


def test_a_list_is_judged_as_if_the_others_were_not_there() -> None:
    machine = host("580.95.05", "13.0", "7.0", "9.0")
    assert codes("cu13", machine, parse_policy("1")) == []
    assert codes("cu13", machine, parse_policy("0")) == ["no-code"]
    assert codes("cu13", machine, parse_policy("0,1")) == ["no-code"]


def test_a_list_of_what_is_not_there_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        judge(PROFILES["cpu"], host("580.95.05", "13.0", "9.0"), FACTS, parse_policy("3"))


@pytest.mark.parametrize("kind", ["all", "any", "best"])
def test_no_policy_changes_what_the_driver_runs(kind: Kind) -> None:
    machine = host("570.124.06", "12.8", "8.0", "9.0")
    assert codes("cu13", machine, GpuPolicy(kind=kind)) == ["driver-too-old"]


@pytest.mark.parametrize("policy", [ALL, ANY, BEST], ids=str)
def test_an_integrated_gpu_that_does_not_count_is_neither_used_nor_left_out(
    policy: GpuPolicy,
) -> None:
    # It would run the line.
    orin = gpu(0, "8.7", name="Orin (nvgpu)")
    machine = with_gpus(host("580.95.05", "13.0"), orin, gpu(1, "8.9"))
    assert codes("cu13", with_gpus(machine, orin)) == []
    found = verdict("cu13", machine, policy)
    assert [card.index for card in found.gpus] == [1]
    assert found.left_out == ()


# What a profile needs


@pytest.mark.parametrize(
    ("needs", "told"),
    [
        ({"driver": ">=535"}, []),
        ({"driver": ">=600"}, ["`mine` needs driver >=600, host has `570.124.06`"]),
        ({"cuda": ">=13"}, ["`mine` needs CUDA >=13, host has `12.8`"]),
        (
            {"driver": ">=600", "cuda": "<12"},
            [
                "`mine` needs driver >=600, host has `570.124.06`",
                "`mine` needs CUDA <12, host has `12.8`",
            ],
        ),
    ],
)
@pytest.mark.parametrize("policy", [ALL, ANY, BEST], ids=str)
def test_a_need_of_the_driver_holds_under_every_policy(
    needs: dict[str, str], told: list[str], policy: GpuPolicy
) -> None:
    machine = host("570.124.06", "12.8", "9.0", "7.0")
    found = judge(make_profile("mine", "12", needs=needs), machine, FACTS, policy).reasons
    assert [reason.message for reason in found] == told


@pytest.mark.parametrize(
    ("policy", "needed", "has"),
    [
        ("all", ">=7.0", None),
        ("all", ">=7.5", "`7.0`, `9.0`"),
        ("any", ">=7.5", None),
        ("any", "<7.5", None),
        ("any", ">=10.0", "`7.0`, `9.0`"),
        ("best", ">=7.5", None),
        ("best", "<7.5", "`9.0`"),
        ("0", ">=7.5", None),
        ("1", ">=7.5", "`7.0`"),
        ("0,1", ">=7.5", "`7.0`, `9.0`"),
    ],
)
def test_a_need_of_gpus_holds_for_those_that_count(
    policy: str, needed: str, has: str | None
) -> None:
    machine = host("570.124.06", "12.8", "9.0", "7.0")
    profile = make_profile("mine", "12", needs={"compute-capability": needed})
    found = judge(profile, machine, FACTS, parse_policy(policy)).reasons
    assert [(reason.code, reason.message) for reason in found] == (
        []
        if has is None
        else [
            (
                "needs-compute-capability",
                f"`mine` needs compute capability {needed}, host has {has}",
            )
        ]
    )


@pytest.mark.parametrize(
    ("cards", "has"),
    [
        ((None, "9.0", "7.0"), "`7.0`, `9.0`, `unknown`"),
        (("10.0", "9.0", None), "`9.0`, `10.0`, `unknown`"),
        ((None,), "`unknown`"),
        ((None, None), "`unknown`"),
    ],
)
@pytest.mark.parametrize("cuda", ["12", None])
def test_a_need_of_gpus_is_told_by_rising_capabilities_and_the_unknown_last(
    cards: tuple[str | None, ...], has: str, cuda: str | None
) -> None:
    machine = with_gpus(
        host("570.124.06", "12.8"), *(gpu(index, card) for index, card in enumerate(cards))
    )
    profile = make_profile("mine", cuda, needs={"compute-capability": ">=11.0"})
    (reason,) = [
        reason
        for reason in judge(profile, machine, FACTS).reasons
        if reason.code == "needs-compute-capability"
    ]
    assert reason.message == f"`mine` needs compute capability >=11.0, host has {has}"


def test_a_gpu_that_does_not_tell_does_not_meet_a_need() -> None:
    machine = with_gpus(host("590.44.01", "13.1"), gpu(0, "9.0"), gpu(1))
    profile = make_profile("mine", "13", needs={"compute-capability": ">=8.0"})
    assert [reason.code for reason in judge(profile, machine, FACTS).reasons] == [
        "needs-compute-capability"
    ]
    found = judge(profile, machine, FACTS, ANY)
    assert found.reasons == ()
    assert [card.index for card in found.left_out] == [1]


def test_a_need_names_the_file_that_it_is_from() -> None:
    profile = make_profile("mine", "12", needs={"driver": ">=600"})
    (reason,) = judge(profile, host("570.124.06", "12.8", "9.0"), FACTS).reasons
    assert (reason.code, reason.source) == ("needs-driver", "`needs.driver` of `mine.yaml`")


def test_a_need_is_not_met_by_what_is_not_known() -> None:
    profile = make_profile("mine", None, needs={"driver": ">=1", "compute-capability": ">=1"})
    assert [reason.message for reason in judge(profile, EMPTY, FACTS).reasons] == [
        "`mine` needs driver >=1, host has none",
        "`mine` needs compute capability >=1, host has none",
    ]


def test_under_any_one_gpu_has_to_do_both() -> None:
    # GPU 0 meets the need and GPU 1 runs the line, so that none does both.
    machine = host("580.95.05", "13.0", "7.0", "9.0")
    profile = make_profile("mine", "13", needs={"compute-capability": "<7.5"})
    found = judge(profile, machine, FACTS, ANY)
    assert {reason.code for reason in found.reasons} == {"needs-compute-capability", "no-code"}
    assert found.gpus == ()


@pytest.mark.parametrize("policy", [ANY, BEST], ids=str)
def test_a_gpu_that_does_not_meet_the_need_is_left_out(policy: GpuPolicy) -> None:
    machine = host("580.95.05", "13.0", "8.0", "9.0")
    profile = make_profile("mine", "13", needs={"compute-capability": ">=9.0"})
    found = judge(profile, machine, FACTS, policy)
    assert found.reasons == ()
    assert [card.index for card in found.gpus] == [1]
    assert [card.index for card in found.left_out] == [0]
