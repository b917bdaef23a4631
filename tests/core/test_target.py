"""The short form of a target, and single facts that a user overrides."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.findings import ABSENT as ABSENT_CODES
from provisioner.core.findings import BROKEN_UNTOLD, found
from provisioner.core.host import (
    BROKEN,
    Compat,
    Driver,
    Finding,
    Gpu,
    Host,
    Platform,
    with_absence_findings,
)
from provisioner.core.target import (
    ABSENT,
    ShortTarget,
    apply_overrides,
    apply_short,
    is_short,
    override_variables,
    parse_short,
)
from provisioner.errors import SelectionError, TargetError
from tests.core.examples import EMPTY, LINUX, capability, choose, gpus, host, version

HERE: Final = replace(
    host("570.124.06", "12.8", "9.0", "7.0"),
    sources=(("driver", "nvml"), ("gpus", "nvml"), ("platform", "this machine")),
)
"""This machine, where a short form leaves something out."""


def faults(text: str) -> tuple[str, ...]:
    """What is said to be wrong with a short form."""
    with pytest.raises(TargetError) as caught:
        parse_short(text)
    assert caught.value.message == f"target `{text}` is not valid"
    assert caught.value.exit_code == 2
    return caught.value.causes


def codes(machine: Host) -> list[str]:
    return [finding.code for finding in machine.findings]


def overridden(machine: Host, **variables: str) -> Host:
    return apply_overrides(machine, override_variables(variables))


# The short form


def test_a_text_with_an_equals_sign_is_the_short_form() -> None:
    assert is_short("driver=none")
    assert not is_short("box.json")


def test_every_key_is_read() -> None:
    text = "driver=570.124.06,cuda=12.8,gpus=9.0+7.0,machine=aarch64,glibc=2.35,python=3.12"
    assert parse_short(text) == ShortTarget(
        driver=version("570.124.06"),
        cuda=version("12.8"),
        gpus=(capability("9.0"), capability("7.0")),
        machine="aarch64",
        libc=("glibc", "2.35"),
        python="3.12",
    )


def test_musl_stands_in_the_place_of_glibc() -> None:
    assert parse_short("musl=1.2") == ShortTarget(libc=("musl", "1.2"))


def test_spaces_round_the_parts_do_not_count() -> None:
    assert parse_short(" driver = 580 , gpus= 9.0 + 8.0 ") == parse_short("driver=580,gpus=9.0+8.0")


@pytest.mark.parametrize("text", ["none", "None", "NONE", ""])
def test_none_and_empty_mean_absent(text: str) -> None:
    short = parse_short(f"driver={text},cuda={text},gpus={text}")
    assert short == ShortTarget(driver=ABSENT, cuda=ABSENT, gpus=())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("driver=newest", "`driver=`: `newest` is not a version of digits and dots"),
        ("cuda=12.x", "`cuda=`: `12.x` is not a version of digits and dots"),
        ("driver=580,gpus=90", "`gpus=`: `90` is not a compute capability such as `9.0`"),
        ("driver=580,gpus=9.0+", "`gpus=`: `` is not a compute capability such as `9.0`"),
        ("driver=580,gpus=0.0", "`gpus=`: `0.0` is not a compute capability such as `9.0`"),
        ("driver=580,gpus=9.12", "`gpus=`: `9.12` is not a compute capability such as `9.0`"),
        ("driver=580,gpus=9.0,8.0", "`8.0`: join GPUs with `+`, as in `gpus=9.0+8.0`"),
        ("cuda=130", "`cuda=`: `130` is not a CUDA version such as `13.0`; is `13.0` meant?"),
        ("cuda=0.0", "`cuda=`: `0.0` is not a CUDA version such as `13.0`"),
        ("python=3", "`python=`: `3` is not a Python version from `3.8` to `3.99`"),
        ("python=2.7", "`python=`: `2.7` is not a Python version from `3.8` to `3.99`"),
        ("python=99.9", "`python=`: `99.9` is not a Python version from `3.8` to `3.99`"),
        ("python=3.7", "`python=`: `3.7` is not a Python version from `3.8` to `3.99`"),
        ("glibc=new", "`glibc=`: `new` is not a version of digits and dots"),
        ("musl=", "`musl=`: `` is not a version of digits and dots"),
        ("python=three", "`python=`: `three` is not a version of digits and dots"),
        ("python=3.12,python=3.13", "`python=` stands twice"),
        ("glibc=2.35,musl=1.2", "`glibc=` and `musl=` exclude each other"),
        ("gpus=9.0", "`gpus=` needs `driver=` or `cuda=` beside it"),
        (
            "gpu=9.0",
            (
                "`gpu=9.0` is none of `driver=`, `cuda=`, `gpus=`, `machine=`, `glibc=`, `musl=`, "
                "`python=`"
            ),
        ),
    ],
)
def test_a_single_fault_of_a_short_form_is_told_alone(text: str, fault: str) -> None:
    assert faults(text) == (fault,)


def test_all_faults_of_a_short_form_are_told_at_once() -> None:
    told = faults("driver=x,cuda=y,gpus=z,glibc=g,python=p,colour=red,machine=a,machine=b")
    for key in ("driver=", "cuda=", "gpus=", "glibc=", "python=", "colour=red", "machine="):
        assert any(f"`{key}`" in fault for fault in told), key


def test_an_unreadable_driver_is_not_told_to_be_missing_too() -> None:
    assert faults("driver=x,gpus=9.0") == ("`driver=`: `x` is not a version of digits and dots",)


def test_a_fault_comes_with_an_example() -> None:
    with pytest.raises(TargetError) as caught:
        parse_short("driver=x")
    assert caught.value.hint is not None
    example = caught.value.hint.strip("`").removeprefix("--target ")
    assert parse_short(example).gpus == (capability("9.0"),)


def test_a_driver_takes_the_gpus_of_this_machine_away() -> None:
    target = apply_short(parse_short("driver=580.65.06"), HERE)
    assert target.host.driver == Driver(version=version("580.65.06"), cuda=None)
    assert target.host.gpus == ()
    assert codes(target.host) == ["gpus-unknown"]


def test_a_cuda_version_takes_the_driver_and_gpus_of_this_machine_away() -> None:
    target = apply_short(parse_short("cuda=13.0"), HERE)
    assert target.host.driver == Driver(version=None, cuda=version("13.0"))
    assert target.host.gpus == ()


def test_named_gpus_are_counted_in_order() -> None:
    target = apply_short(parse_short("driver=580,gpus=9.0+7.0"), HERE)
    assert target.host.gpus == gpus("9.0", "7.0")
    assert codes(target.host) == []


def test_without_a_driver_there_is_no_gpu_to_use() -> None:
    target = apply_short(parse_short("driver=none"), HERE)
    assert target.host.driver is None
    assert target.host.gpus == ()
    assert codes(target.host) == ["no-gpu"]


def test_empty_gpus_alone_mean_a_machine_without_any() -> None:
    target = apply_short(parse_short("gpus="), HERE)
    assert target.host.driver is None
    assert codes(target.host) == ["no-gpu"]


def test_empty_gpus_beside_a_driver_mean_a_driver_without_a_device() -> None:
    assert codes(apply_short(parse_short("driver=580,gpus="), HERE).host) == ["driver-no-device"]


def test_gpus_without_a_driver_say_so() -> None:
    assert codes(apply_short(parse_short("driver=none,gpus=9.0"), HERE).host) == ["gpu-no-driver"]


def test_what_is_left_out_is_of_this_machine() -> None:
    target = apply_short(parse_short("python=3.13"), HERE)
    assert target.python == "3.13"
    assert target.host == HERE


def test_another_machine_keeps_the_driver_where_no_gpu_fact_is_named() -> None:
    target = apply_short(parse_short("machine=aarch64,glibc=2.28"), HERE)
    assert target.host.platform == Platform(
        system="linux", machine="aarch64", kind="linux", libc=("glibc", "2.28")
    )
    assert target.host.driver == HERE.driver
    assert target.host.gpus == HERE.gpus


def test_a_c_library_names_a_linux_machine() -> None:
    mac = Host(platform=Platform(system="macos", machine="arm64", kind="macos", libc=None))
    platform = apply_short(parse_short("musl=1.2,machine=x86_64"), mac).host.platform
    assert platform == Platform(
        system="linux", machine="x86_64", kind="linux", libc=("musl", "1.2")
    )


ODD: Final = [
    replace(LINUX, kind="wsl2"),
    replace(LINUX, kind="jetson", machine="aarch64"),
]


@pytest.mark.parametrize("platform", ODD, ids=lambda platform: platform.kind)
@pytest.mark.parametrize("text", ["driver=580,gpus=9.0", "cuda=13.0", "gpus=", "driver=none"])
def test_a_named_driver_is_not_of_the_odd_class_of_this_machine(
    text: str, platform: Platform
) -> None:
    found = apply_short(parse_short(text), replace(HERE, platform=platform)).host.platform
    assert found == replace(platform, kind="linux")


@pytest.mark.parametrize("platform", ODD, ids=lambda platform: platform.kind)
@pytest.mark.parametrize("text", ["glibc=2.35", "machine=aarch64", "machine=x86_64,musl=1.2"])
def test_another_c_library_or_machine_keeps_the_class_of_this_one(
    text: str, platform: Platform
) -> None:
    short = parse_short(text)
    found = apply_short(short, replace(HERE, platform=platform)).host
    assert found.platform == replace(
        platform,
        machine=short.machine or platform.machine,
        libc=short.libc or platform.libc,
    )
    assert found.driver == HERE.driver


def test_the_sources_say_which_facts_were_named() -> None:
    sources = dict(apply_short(parse_short("driver=580,gpus=9.0"), HERE).host.sources)
    assert sources["driver"] == "--target"
    assert sources["gpus"] == "--target"


@pytest.mark.parametrize(
    ("text", "source"),
    [("driver=580,gpus=9.0", "this machine"), ("machine=aarch64,glibc=2.28", "--target")],
)
def test_the_sources_say_where_the_platform_is_from(text: str, source: str) -> None:
    sources = dict(apply_short(parse_short(text), HERE).host.sources)
    assert source in sources.get("platform", "")


# Absence


@pytest.mark.parametrize(
    ("machine", "code"),
    [
        (EMPTY, "no-gpu"),
        (replace(EMPTY, gpus=gpus("9.0")), "gpu-no-driver"),
        (host("580.65.06", "13.0"), "driver-no-device"),
    ],
)
def test_a_missing_half_is_found_once(machine: Host, code: str) -> None:
    found = with_absence_findings(machine)
    assert codes(found) == [code]
    assert with_absence_findings(found) == found


def test_a_whole_stack_has_no_absence() -> None:
    assert with_absence_findings(HERE) == HERE


@pytest.mark.parametrize("code", sorted(BROKEN))
def test_broken_is_never_called_absent(code: str) -> None:
    machine = EMPTY.with_findings(Finding(code=code, message="NVML does not start"))
    assert with_absence_findings(machine) == machine


# Overrides


def test_no_variable_leaves_the_host_as_it_is() -> None:
    assert overridden(HERE, PATH="/bin", GPUENV_STORE="/store") == HERE


def test_each_fact_is_overridden_on_its_own() -> None:
    changed = overridden(HERE, GPUENV_GPUS="8.0")
    assert changed.gpus == gpus("8.0")
    assert changed.driver == HERE.driver
    changed = overridden(HERE, GPUENV_CUDA="13.0")
    assert changed.driver == Driver(version=version("570.124.06"), cuda=version("13.0"))
    assert changed.gpus == HERE.gpus


def test_another_driver_takes_the_cuda_version_of_the_old_one_away() -> None:
    changed = overridden(HERE, GPUENV_DRIVER="580.65.06")
    assert changed.driver == Driver(version=version("580.65.06"), cuda=None)


def test_all_three_facts_together_replace_the_whole_stack() -> None:
    changed = overridden(EMPTY, GPUENV_DRIVER="580", GPUENV_CUDA="13.0", GPUENV_GPUS="9.0+7.0")
    assert changed.driver == Driver(version=version("580"), cuda=version("13.0"))
    assert changed.gpus == gpus("9.0", "7.0")
    assert codes(changed) == []


@pytest.mark.parametrize("text", ["", "none", " "])
@pytest.mark.parametrize("variable", ["GPUENV_CUDA", "GPUENV_DRIVER", "CONDA_OVERRIDE_CUDA"])
def test_an_empty_override_of_the_driver_means_absent(variable: str, text: str) -> None:
    changed = overridden(HERE, **{variable: text})
    assert changed.driver is None
    assert codes(changed) == ["override-contradicts", "gpu-no-driver"]
    assert choose(changed).chosen.profile.name == "cpu"


@pytest.mark.parametrize("text", ["", "none"])
def test_an_empty_override_of_the_gpus_means_absent(text: str) -> None:
    changed = overridden(HERE, GPUENV_GPUS=text)
    assert changed.gpus == ()
    assert codes(changed) == ["override-contradicts", "driver-no-device"]
    assert choose(changed).chosen.profile.name == "cpu"


@pytest.mark.parametrize(
    ("strong", "weak", "fact"),
    [
        ("GPUENV_DRIVER", "UV_CUDA_DRIVER_VERSION", "driver"),
        ("GPUENV_CUDA", "CONDA_OVERRIDE_CUDA", "cuda"),
    ],
)
def test_a_variable_of_gpuenv_is_stronger_than_one_of_another_tool(
    strong: str, weak: str, fact: str
) -> None:
    both = override_variables({weak: "1.0", strong: "2.0"})
    assert both == {fact: (strong, "2.0")}
    assert override_variables({weak: "1.0"}) == {fact: (weak, "1.0")}


def test_an_empty_variable_of_gpuenv_is_stronger_too() -> None:
    changed = overridden(HERE, GPUENV_CUDA="", CONDA_OVERRIDE_CUDA="12.8")
    assert changed.driver is None


@pytest.mark.parametrize(
    ("variable", "text", "fact"),
    [
        ("GPUENV_DRIVER", "580", "driver"),
        ("UV_CUDA_DRIVER_VERSION", "580", "driver"),
        ("GPUENV_CUDA", "13.0", "cuda"),
        ("CONDA_OVERRIDE_CUDA", "", "cuda"),
        ("GPUENV_GPUS", "none", "gpus"),
    ],
)
def test_the_sources_say_what_was_overridden_by_which_variable(
    variable: str, text: str, fact: str
) -> None:
    sources = dict(overridden(HERE, **{variable: text}).sources)
    assert sources[fact] == f"overridden by `{variable}`"
    assert {key: sources[key] for key in dict(HERE.sources) if key != fact} == {
        key: source for key, source in HERE.sources if key != fact
    }


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("GPUENV_DRIVER", "580", "`GPUENV_DRIVER` says `580`, this machine has `570.124.06`"),
        ("GPUENV_DRIVER", "none", "`GPUENV_DRIVER` says `none`, this machine has `570.124.06`"),
        ("GPUENV_CUDA", "13.0", "`GPUENV_CUDA` says `13.0`, this machine has `12.8`"),
        ("CONDA_OVERRIDE_CUDA", "", "`CONDA_OVERRIDE_CUDA` says `none`, this machine has `12.8`"),
        ("GPUENV_GPUS", "8.0", "`GPUENV_GPUS` says `8.0`, this machine has `7.0+9.0`"),
    ],
)
def test_an_override_that_contradicts_the_hardware_is_obeyed_and_shown(
    variable: str, text: str, message: str
) -> None:
    changed = overridden(HERE, **{variable: text})
    told = [item.message for item in changed.findings if item.code == "override-contradicts"]
    assert told == [message]
    assert changed.broken == ()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("GPUENV_DRIVER", "570.124.06"),
        ("GPUENV_CUDA", "12.8"),
        ("GPUENV_CUDA", "12.8.0"),
        ("GPUENV_GPUS", "9.0+7.0"),
        ("GPUENV_GPUS", "7.0+9.0"),
    ],
)
def test_an_override_that_says_what_the_hardware_says_contradicts_nothing(
    variable: str, text: str
) -> None:
    assert codes(overridden(HERE, **{variable: text})) == []


def test_an_override_of_what_nobody_knows_contradicts_nothing() -> None:
    changed = overridden(EMPTY, GPUENV_DRIVER="580", GPUENV_CUDA="13.0", GPUENV_GPUS="9.0")
    assert codes(changed) == []


def test_a_compatibility_package_stays_while_only_the_gpus_are_overridden() -> None:
    package = Compat(cuda=version("13.0"), branches=(570,))
    driver = Driver(version=version("570.124.06"), cuda=version("13.0"), compat=package)
    machine = replace(HERE, driver=driver)
    assert overridden(machine, GPUENV_GPUS="8.0").driver == driver
    changed = overridden(machine, GPUENV_CUDA="12.8").driver
    assert changed is not None
    assert changed.compat is None


def test_all_faults_of_overrides_are_told_at_once() -> None:
    with pytest.raises(TargetError, match="an override is not valid") as caught:
        overridden(HERE, UV_CUDA_DRIVER_VERSION="x", GPUENV_CUDA="y", GPUENV_GPUS="9.0+z")
    assert caught.value.causes == (
        "`UV_CUDA_DRIVER_VERSION`: `x` is not a version of digits and dots",
        "`GPUENV_CUDA`: `y` is not a version of digits and dots",
        "`GPUENV_GPUS`: `z` is not a compute capability such as `9.0`",
    )


def test_the_hint_about_unknown_gpus_is_about_where_the_target_was_named() -> None:
    (short,) = apply_short(parse_short("driver=580.65.06"), HERE).host.findings
    (variable,) = overridden(EMPTY, GPUENV_DRIVER="580.65.06").findings
    assert short.code == variable.code == "gpus-unknown"
    assert short.hint == "`gpus=9.0` in the target names one"
    assert variable.hint == "`GPUENV_GPUS=9.0` names one"


def test_overridden_gpus_may_be_joined_with_commas() -> None:
    assert overridden(HERE, GPUENV_GPUS="9.0, 7.0") == overridden(HERE, GPUENV_GPUS="9.0+7.0")


def test_gpus_that_are_named_without_a_driver_ask_for_one() -> None:
    (told,) = overridden(EMPTY, GPUENV_GPUS="9.0").findings
    assert told.code == "gpu-no-driver"
    assert told.message == "`GPUENV_GPUS` names a GPU, and no NVIDIA driver is known"
    assert told.hint is not None
    for variable in ("`GPUENV_DRIVER=580.65.06`", "`GPUENV_CUDA=13.0`"):
        assert variable in told.hint
    assert codes(overridden(EMPTY, GPUENV_GPUS="9.0", GPUENV_DRIVER="580.65.06")) == []


@pytest.mark.parametrize(
    ("written", "machine"),
    [("arm64", "aarch64"), ("AMD64", "x86_64"), ("amd64", "x86_64"), ("aarch64", "aarch64")],
)
def test_a_machine_of_linux_has_its_linux_name(written: str, machine: str) -> None:
    target = apply_short(parse_short(f"machine={written}"), HERE)
    assert target.host.platform.machine == machine


def test_a_machine_of_macos_keeps_its_name() -> None:
    mac = Platform(system="macos", machine="arm64", kind="macos", libc=None)
    here = replace(EMPTY, platform=mac)
    assert apply_short(parse_short("machine=arm64"), here).host.platform.machine == "arm64"
    linux = apply_short(parse_short("glibc=2.35"), here)
    assert linux.host.platform.machine == "aarch64"


def test_a_short_form_of_absurd_length_is_refused_shortly() -> None:
    with pytest.raises(TargetError) as caught:
        parse_short(f"driver={'9' * 100_000}")
    assert all(len(text) < 200 for text in (caught.value.message, *caught.value.causes))


def test_a_finding_of_absence_ends_with_the_absence() -> None:
    bare = with_absence_findings(EMPTY)
    assert codes(bare) == ["no-gpu"]
    assert codes(overridden(bare, GPUENV_DRIVER="580", GPUENV_GPUS="9.0")) == []


def test_an_overridden_stack_is_no_longer_broken() -> None:
    broken = EMPTY.with_findings(Finding(code="version-mismatch", message="reboot"))
    changed = overridden(broken, GPUENV_DRIVER="580", GPUENV_CUDA="13.0", GPUENV_GPUS="9.0")
    assert changed.broken == ()
    assert choose(changed).chosen.profile.name == "cu13"


@pytest.mark.parametrize(
    "machine",
    [
        EMPTY.with_findings(Finding(code="version-mismatch", message="NVML does not start")),
        EMPTY.with_findings(Finding(code="nvml-failed", message="NVML does not start")),
        host("580.65.06", "13.0").with_findings(
            Finding(code="gpus-unreadable", message="NVML counts no GPUs")
        ),
    ],
    ids=["version-mismatch", "nvml-failed", "gpus-unreadable"],
)
@pytest.mark.parametrize(
    ("variable", "text"),
    [("GPUENV_DRIVER", "580.65.06"), ("GPUENV_CUDA", "13.0"), ("GPUENV_GPUS", "9.0")],
)
def test_overriding_one_fact_of_a_broken_machine_never_makes_it_a_cpu_machine(
    machine: Host, variable: str, text: str
) -> None:
    try:
        name = choose(overridden(machine, **{variable: text})).chosen.profile.name
    except SelectionError:
        return
    assert name != "cpu"


UNTOLD: Final = replace(host("570.124.06", None), gpus=(Gpu(index=0),))
"""A machine of which only files tell."""


@pytest.mark.parametrize("code", sorted(BROKEN | BROKEN_UNTOLD))
@pytest.mark.parametrize(
    "variables",
    [
        {"GPUENV_DRIVER": "none"},
        {"GPUENV_CUDA": ""},
        {"GPUENV_GPUS": "none"},
        {"CONDA_OVERRIDE_CUDA": ""},
        {"GPUENV_DRIVER": "", "GPUENV_CUDA": "", "GPUENV_GPUS": ""},
        {"GPUENV_DRIVER": "580.65.06", "GPUENV_CUDA": "none"},
    ],
)
def test_saying_that_there_is_no_gpu_mends_whatever_is_broken(
    code: str, variables: dict[str, str]
) -> None:
    machine = UNTOLD.with_findings(Finding(code=code, message="it hangs"))
    assert machine.broken
    changed = overridden(machine, **variables)
    assert changed.broken == ()
    assert code not in codes(changed)
    assert choose(changed).chosen.profile.name == "cpu"
    assert set(codes(changed)) & ABSENT_CODES


@pytest.mark.parametrize("code", sorted(BROKEN | BROKEN_UNTOLD))
@pytest.mark.parametrize(
    "variables",
    [
        {"GPUENV_DRIVER": "580.65.06", "GPUENV_GPUS": "9.0"},
        {"GPUENV_CUDA": "13.0", "GPUENV_GPUS": "9.0"},
        {"UV_CUDA_DRIVER_VERSION": "580.65.06", "GPUENV_GPUS": "9.0"},
    ],
)
def test_naming_the_driver_and_its_gpus_mends_whatever_is_broken(
    code: str, variables: dict[str, str]
) -> None:
    machine = UNTOLD.with_findings(Finding(code=code, message="it hangs"))
    changed = overridden(machine, **variables)
    assert code not in codes(changed)
    assert choose(changed).chosen.profile.name == "cu13"


# NVML that cannot count GPUs has started, so that there is a driver.
@pytest.mark.parametrize("code", sorted((BROKEN | BROKEN_UNTOLD) - {"gpus-unreadable"}))
@pytest.mark.parametrize(
    ("variable", "text"),
    [("GPUENV_DRIVER", "580.65.06"), ("GPUENV_CUDA", "13.0"), ("GPUENV_GPUS", "9.0")],
)
def test_naming_one_fact_never_makes_a_machine_without_a_known_driver_a_cpu_machine(
    code: str, variable: str, text: str
) -> None:
    machine = replace(UNTOLD, driver=None).with_findings(Finding(code=code, message="it hangs"))
    changed = overridden(machine, **{variable: text})
    try:
        name = choose(changed).chosen.profile.name
    except SelectionError:
        return
    assert name != "cpu"


def test_named_gpus_are_no_longer_unknown() -> None:
    machine = replace(HERE, gpus=()).with_findings(found("gpus-unknown", "no GPU is known"))
    assert codes(overridden(machine, GPUENV_GPUS="9.0")) == []
    assert codes(overridden(machine, GPUENV_GPUS="")) == ["driver-no-device"]
    assert "gpus-unknown" not in codes(overridden(machine, GPUENV_DRIVER="none"))


def test_naming_a_driver_does_not_make_unreadable_gpus_readable() -> None:
    machine = replace(host("570.124.06", "12.8"), gpus=(Gpu(index=0),)).with_findings(
        Finding(code="gpus-unreadable", message="none of 1 GPU tells its compute capability")
    )
    with pytest.raises(SelectionError):
        choose(overridden(machine, GPUENV_DRIVER="580.65.06"))


@given(
    st.sampled_from(["GPUENV_DRIVER", "GPUENV_CUDA", "UV_CUDA_DRIVER_VERSION"]),
    st.lists(st.integers(1, 99), min_size=1, max_size=4),
)
def test_every_override_can_be_seen(variable: str, parts: list[int]) -> None:
    text = ".".join(map(str, parts))
    changed = overridden(HERE, **{variable: text})
    assert f"overridden by `{variable}`" in dict(changed.sources).values()
    assert changed.driver is not None
    fact = changed.driver.cuda if variable == "GPUENV_CUDA" else changed.driver.version
    assert str(fact) == text
