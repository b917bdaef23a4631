"""Which profiles a host can run, which one is best, and every reason against the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.host import BROKEN, Driver, Finding, Gpu, Host
from provisioner.core.project import Defined
from provisioner.core.select import (
    Candidate,
    consider,
    explain,
    judge,
    runs_code_for,
    select,
    selection_data,
)
from provisioner.errors import ProfileError, SelectionError
from tests.core.examples import (
    EMPTY,
    LINUX,
    capability,
    choose,
    host,
    make_profile,
    shipped_facts,
    shipped_profiles,
    short_host,
    version,
)

FACTS: Final = shipped_facts()
SHIPPED: Final = shipped_profiles()
PROFILES: Final = (
    *SHIPPED,
    make_profile("cu118", "11.8"),
    make_profile("cu126", "12.6"),
    make_profile("cu128", "12.8"),
    make_profile("cu130", "13.0"),
)


def defined(*extras: str, groups: tuple[str, ...] = ()) -> Defined:
    return Defined(extras=frozenset(extras), groups=frozenset(groups))


def reasons(name: str, machine: Host) -> list[str]:
    (profile,) = [profile for profile in PROFILES if profile.name == name]
    return [reason.message for reason in judge(profile, machine, FACTS)]


def codes(name: str, machine: Host) -> list[str]:
    (profile,) = [profile for profile in PROFILES if profile.name == name]
    return [reason.code for reason in judge(profile, machine, FACTS)]


def refused(machine: Host, **options: Any) -> SelectionError:  # noqa: ANN401 - handed on
    with pytest.raises(SelectionError) as caught:
        choose(machine, **options)
    assert caught.value.exit_code == 7
    return caught.value


# The hard cases


@pytest.mark.parametrize(
    ("driver", "cuda", "cards", "name"),
    [
        pytest.param("580.95.05", "13.0", "7.0+9.0", "cu12", id="V100 and H100"),
        pytest.param("580.95.05", "13.0", "7.5+9.0", "cu13", id="T4 and H100"),
        pytest.param("580.95.05", "13.0", "6.1", "cu12", id="GTX 1080 Ti on a new driver"),
        pytest.param("580.95.05", "13.0", "5.2+12.0", "cu12", id="M60 and RTX 5090"),
        pytest.param("470.82.01", "11.4", "8.0", "cu11", id="A100 on an old driver"),
        pytest.param("470.82.01", "11.4", "8.6", "cu11", id="RTX 3090 on an old driver"),
        pytest.param("570.124.06", "12.8", "9.0", "cu12", id="H100"),
        pytest.param("575.57.08", "12.9", "12.0", "cu12", id="RTX 5090"),
        pytest.param("470.82.01", "11.4", "3.7", "cu11", id="K80"),
        pytest.param("470.82.01", "11.4", "3.7+8.0", "cu11", id="K80 and A100"),
        pytest.param("535.54.03", "12.2", "5.2", "cu12", id="M60"),
        pytest.param("580.95.05", "13.0", "12.1", "cu13", id="GB10"),
        pytest.param("580.95.05", "13.0", "11.0", "cu13", id="Thor"),
        pytest.param("580.95.05", "13.0", "8.9", "cu13", id="RTX 4090"),
        pytest.param("615.71.09", "13.4", "10.7", "cu13", id="Rubin"),
        pytest.param("525.60.13", "12.0", "9.0", "cu12", id="exactly the floor"),
        pytest.param("450.80.02", "11.0", "8.0", "cu11", id="exactly the older floor"),
    ],
)
@pytest.mark.parametrize("known", ["both", "driver", "cuda"])
def test_the_newest_line_that_every_gpu_runs_is_chosen(
    driver: str, cuda: str, cards: str, name: str, known: str
) -> None:
    facts = {"both": f"driver={driver},cuda={cuda}", "driver": f"driver={driver}"}
    machine = short_host(f"{facts.get(known, f'cuda={cuda}')},gpus={cards}")
    assert choose(machine).chosen.profile.name == name


def test_another_processor_does_not_change_the_line() -> None:
    machine = short_host("driver=580.95.05,cuda=13.0,gpus=12.1,machine=aarch64")
    assert choose(machine).chosen.profile.name == "cu13"


def test_two_equal_gpus_under_windows_subsystem_for_linux_run_what_one_runs() -> None:
    machine = host("572.60", "12.8", "8.9", "8.9")
    windows = replace(machine, platform=replace(LINUX, kind="wsl2"))
    assert choose(windows).chosen.profile.name == "cu12"


def test_under_wsl2_the_driver_is_numbered_as_on_windows() -> None:
    # 526.98 is above the floor of Linux for CUDA 12 (525.60.13) and below that of Windows.
    machine = replace(host("526.98", None, "8.9"), platform=replace(LINUX, kind="wsl2"))
    assert reasons("cu12", machine) == ["`cu12` needs driver >=528.33, host has `526.98`"]


def test_a_compatibility_package_counts_for_more_than_the_kernel_driver() -> None:
    assert choose(host("535.183.01", "13.0", "8.0")).chosen.profile.name == "cu13"


def test_a_new_kernel_driver_under_an_old_cuda_runs_the_old_cuda() -> None:
    machine = host("580.95.05", "12.8", "9.0")
    assert choose(machine).chosen.profile.name == "cu12"
    assert reasons("cu13", machine) == [
        "`cu13` needs a driver that runs CUDA >=13.0, host has `12.8`"
    ]


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
    error = refused(host("570.124.06", "12.8", "3.7", "12.0"))
    assert error.message == "no profile fits this host"
    assert error.causes == (
        "`cu13` needs driver >=580, host has `570.124.06`",
        "`cu13` has no code for compute capability `3.7`",
        "`cu12` has no code for compute capability `3.7`",
        "`cu11` has no code for compute capability `12.0`",
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


# Reasons


@pytest.mark.parametrize(
    ("name", "machine", "told"),
    [
        (
            "cu13",
            host("570.124.06", "12.8", "9.0"),
            ["`cu13` needs driver >=580, host has `570.124.06`"],
        ),
        (
            "cu13",
            host("570.124.06", None, "9.0"),
            ["`cu13` needs driver >=580, host has `570.124.06`"],
        ),
        (
            "cu13",
            host(None, "12.8", "9.0"),
            ["`cu13` needs a driver that runs CUDA >=13.0, host has `12.8`"],
        ),
        (
            "cu13",
            host(None, None, "9.0"),
            ["`cu13` needs driver >=580, the host's version is unknown"],
        ),
        ("cu13", EMPTY, ["`cu13` needs driver >=580, host has none"]),
        (
            "cu12",
            host("470.82.01", "11.4", "3.7"),
            [
                "`cu12` needs driver >=525.60.13, host has `470.82.01`",
                "`cu12` has no code for compute capability `3.7`",
            ],
        ),
        (
            "cu13",
            host("580.95.05", "13.0", "7.0", "6.1", "7.0", "9.0"),
            [
                "`cu13` has no code for compute capability `6.1`",
                "`cu13` has no code for compute capability `7.0`",
            ],
        ),
        ("cu13", host("580.95.05", "13.0"), ["`cu13` needs a GPU, host has none"]),
    ],
)
def test_a_reason_shows_both_values(name: str, machine: Host, told: list[str]) -> None:
    assert reasons(name, machine) == told


def test_a_reason_names_the_gpus_that_it_is_about() -> None:
    cards = (
        Gpu(index=0, name="Tesla V100", compute_capability=capability("7.0")),
        Gpu(index=1, name="Tesla V100", compute_capability=capability("7.0")),
        Gpu(index=2, name="NVIDIA H100", compute_capability=capability("9.0")),
    )
    machine = replace(host("580.95.05", "13.0"), gpus=cards)
    assert reasons("cu13", machine) == [
        "`cu13` has no code for compute capability `7.0` (Tesla V100)"
    ]


@pytest.mark.parametrize(
    ("machine", "told"),
    [
        (host("570.124.06", "12.8", "9.0"), ["driver-too-old"]),
        (host(None, "12.8", "9.0"), ["cuda-too-old"]),
        (host(None, None, "9.0"), ["driver-unknown"]),
        (EMPTY, ["no-driver"]),
        (host("580", None), ["no-gpu"]),
        (host("580", None, "7.0"), ["no-code"]),
    ],
)
def test_a_reason_has_a_stable_code(machine: Host, told: list[str]) -> None:
    assert codes("cu13", machine) == told


def test_a_line_that_the_tables_do_not_know_says_so() -> None:
    (reason, *_) = judge(make_profile("cu14", "14"), host("700", None, "9.0"), FACTS)
    assert reason.code == "cuda-unknown"
    assert "CUDA 14" in reason.message


@pytest.mark.parametrize(
    ("needs", "told"),
    [
        ({"driver": ">=535"}, []),
        ({"driver": ">=600"}, ["`mine` needs driver >=600, host has `570.124.06`"]),
        ({"cuda": ">=13"}, ["`mine` needs CUDA >=13, host has `12.8`"]),
        (
            {"compute-capability": ">=7.5"},
            ["`mine` needs compute capability >=7.5, host has `9.0`, `7.0`"],
        ),
        ({"compute-capability": ">=7.0"}, []),
        (
            {"driver": ">=600", "cuda": "<12"},
            [
                "`mine` needs driver >=600, host has `570.124.06`",
                "`mine` needs CUDA <12, host has `12.8`",
            ],
        ),
    ],
)
def test_what_a_profile_needs_has_to_hold_for_every_gpu(
    needs: dict[str, str], told: list[str]
) -> None:
    machine = host("570.124.06", "12.8", "9.0", "7.0")
    found = judge(make_profile("mine", "12", needs=needs), machine, FACTS)
    assert [reason.message for reason in found] == told


def test_a_need_is_not_met_by_what_is_not_known() -> None:
    profile = make_profile("mine", None, needs={"driver": ">=1", "compute-capability": ">=1"})
    assert [reason.message for reason in judge(profile, EMPTY, FACTS)] == [
        "`mine` needs driver >=1, host has none",
        "`mine` needs compute capability >=1, host has none",
    ]


@pytest.mark.parametrize(
    ("gpu", "built", "runs"),
    [
        ("8.6", "8.0", True),
        ("8.0", "8.6", False),
        ("9.0", "8.0", False),
        ("12.1", "12.0", True),
        ("7.5", "7.5", True),
    ],
)
def test_code_runs_on_the_same_major_from_its_own_minor_on(
    gpu: str, built: str, *, runs: bool
) -> None:
    assert runs_code_for(capability(gpu), [capability(built)]) is runs


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
    cards = (Gpu(index=0, compute_capability=capability("8.0")), Gpu(index=1))
    lost = Finding(code=code, message="GPU 1 cannot be used")
    selection = choose(replace(host("580.95.05", "13.0"), gpus=cards).with_findings(lost))
    assert selection.chosen.profile.name == "cu13"
    assert [(item.code, item.message) for item in selection.warnings] == [(code, lost.message)]


# Order


def test_the_newest_cuda_comes_first_and_a_minor_line_before_its_major() -> None:
    names = [item.profile.name for item in consider(PROFILES, EMPTY, FACTS, None)]
    assert names == ["cu130", "cu13", "cu128", "cu126", "cu12", "cu118", "cu11", "cpu"]


def test_the_order_of_the_files_does_not_matter() -> None:
    machine = host("570.124.06", "12.8", "9.0")
    assert consider(PROFILES, machine, FACTS, None) == consider(
        tuple(reversed(PROFILES)), machine, FACTS, None
    )


def test_a_minor_line_without_code_gives_way_to_the_next() -> None:
    selection = choose(host("575.57.08", "12.9", "12.0"), profiles=PROFILES)
    assert [item.profile.name for item in selection.usable] == ["cu128", "cu12", "cpu"]
    assert reasons("cu126", host("575.57.08", "12.9", "12.0")) == [
        "`cu126` has no code for compute capability `12.0`"
    ]


def test_a_minor_line_runs_on_every_driver_of_its_major() -> None:
    selection = choose(host("525.60.13", "12.0", "9.0"), profiles=PROFILES)
    assert selection.chosen.profile.name == "cu128"


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
        choose(EMPTY, forced="cu99")
    assert caught.value.exit_code == 2
    assert caught.value.causes == ("known are `cu13`, `cu12`, `cu11`, `cpu`",)


# Broken machines


@pytest.mark.parametrize("code", sorted(BROKEN))
def test_a_broken_machine_is_never_made_a_cpu_machine(code: str) -> None:
    broken = Finding(code=code, message="NVML does not start", hint="restart the machine")
    error = refused(EMPTY.with_findings(broken))
    assert error.code == code
    assert error.causes == ("NVML does not start",)
    assert error.hint == "restart the machine; `--profile cpu` sets up the CPU environment"
    assert error.data is not None


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
    assert selection_data(candidates, selection.warnings, selection) == {
        "profile": "cu12",
        "extras": ["cu12", "cuda12"],
        "usable": ["cu12", "cpu"],
        "candidates": [
            {
                "profile": "cu13",
                "accepted": False,
                "reasons": [
                    {
                        "code": "driver-too-old",
                        "message": "`cu13` needs driver >=580, host has `570.124.06`",
                    }
                ],
            },
            {"profile": "cu12", "accepted": True, "reasons": []},
            {
                "profile": "cu11",
                "accepted": False,
                "reasons": [
                    {
                        "code": "extra-not-defined",
                        "message": "`cu11` needs one of `cu11`, `cuda11`, `cuda11x`, "
                        "the project defines none",
                    }
                ],
            },
            {"profile": "cpu", "accepted": True, "reasons": []},
        ],
        "warnings": [],
    }


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

OLD_CARDS: Final = ("3.5", "3.7", "5.2", "6.1", "7.0", "7.5", "8.0", "8.9")
NEW_CARDS: Final = ("9.0", "10.0", "10.3", "10.7", "11.0", "12.0", "12.1", "13.0")
CARDS = st.sampled_from([*OLD_CARDS, *NEW_CARDS])
STACKS: Final = (
    ("384.81", "9.0"),
    ("418.39", "10.1"),
    ("450.80.02", "11.0"),
    ("470.82.01", "11.4"),
    ("520.61.05", "11.8"),
    ("525.60.13", "12.0"),
    ("535.54.03", "12.2"),
    ("570.124.06", "12.8"),
    ("575.57.08", "12.9"),
    ("580.65.06", "13.0"),
    ("615.71.09", "13.4"),
    ("9999", "99.0"),
)
"""Drivers with the CUDA version that they run, oldest first."""

KNOWN = st.sampled_from(["both", "driver", "cuda"])


def machine_with(stack: tuple[str, str], known: str, cards: list[str]) -> Host:
    driver, cuda = stack
    return host(None if known == "cuda" else driver, None if known == "driver" else cuda, *cards)


def accepted(machine: Host) -> set[str]:
    return {item.profile.name for item in consider(PROFILES, machine, FACTS, None) if item.accepted}


@given(st.sampled_from(STACKS), KNOWN, st.lists(CARDS, min_size=1, max_size=4), CARDS)
def test_another_gpu_never_makes_a_rejected_profile_fit(
    stack: tuple[str, str], known: str, cards: list[str], added: str
) -> None:
    before = accepted(machine_with(stack, known, cards))
    after = accepted(machine_with(stack, known, [*cards, added]))
    assert after <= before


@given(
    st.integers(0, len(STACKS) - 1),
    st.integers(0, len(STACKS) - 1),
    KNOWN,
    st.lists(CARDS, max_size=4),
)
def test_a_newer_driver_never_makes_a_fitting_profile_unfit(
    one: int, other: int, known: str, cards: list[str]
) -> None:
    older, newer = sorted((one, other))
    before = accepted(machine_with(STACKS[older], known, cards))
    after = accepted(machine_with(STACKS[newer], known, cards))
    assert before <= after


@given(st.sampled_from(STACKS), KNOWN, st.lists(CARDS, min_size=1, max_size=4))
def test_every_rejected_profile_has_a_reason_that_names_it(
    stack: tuple[str, str], known: str, cards: list[str]
) -> None:
    machine = machine_with(stack, known, cards)
    candidates = consider(PROFILES, machine, FACTS, defined("cu12", "cu118"))
    data = selection_data(candidates, ())
    usable = data["usable"]
    told = data["candidates"]
    assert isinstance(usable, list)
    assert isinstance(told, list)
    assert len(told) == len(PROFILES)
    for candidate in told:
        rejected = candidate["profile"] not in usable
        assert candidate["accepted"] is not rejected
        assert bool(candidate["reasons"]) is rejected
        for reason in candidate["reasons"]:
            assert reason["code"]
            assert reason["message"].startswith(f"`{candidate['profile']}` ")
            assert not reason["message"].endswith(".")


@given(st.sampled_from(STACKS), KNOWN, st.lists(CARDS, min_size=1, max_size=4))
def test_a_machine_with_a_gpu_gets_a_line_for_it_or_an_error(
    stack: tuple[str, str], known: str, cards: list[str]
) -> None:
    machine = machine_with(stack, known, cards)
    if accepted(machine) == {"cpu"}:
        assert refused(machine, profiles=PROFILES).causes
        return
    selection = choose(machine, profiles=PROFILES)
    assert selection.chosen.profile.cuda is not None
    assert selection.chosen == selection.usable[0]


@given(st.sampled_from(STACKS), KNOWN, st.lists(CARDS, min_size=1, max_size=4), st.randoms())
def test_the_order_of_the_gpus_does_not_matter(
    stack: tuple[str, str],
    known: str,
    cards: list[str],
    chance: Any,  # noqa: ANN401 - hypothesis'
) -> None:
    shuffled = list(cards)
    chance.shuffle(shuffled)
    one, other = (
        [(item.profile.name, item.reasons) for item in consider(PROFILES, machine, FACTS, None)]
        for machine in (machine_with(stack, known, cards), machine_with(stack, known, shuffled))
    )
    assert one == other


def test_a_candidate_without_reasons_is_accepted() -> None:
    profile = make_profile("mine", None)
    assert Candidate(profile=profile).accepted
    driver = Driver(version=version("1"), cuda=None)
    assert judge(profile, replace(EMPTY, driver=driver), FACTS) == ()


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
