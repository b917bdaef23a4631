"""What is known of a machine, written to JSON and read from it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.findings import BROKEN_UNTOLD
from provisioner.core.host import (
    BROKEN,
    Compat,
    Driver,
    Finding,
    Gpu,
    Host,
    Libc,
    Platform,
    Target,
    with_absence_findings,
)
from provisioner.core.select import consider, select
from provisioner.core.target_json import target_from_json, target_to_json
from provisioner.core.version import ComputeCapability, DottedVersion
from provisioner.errors import TargetError
from tests.core.examples import (
    EMPTY,
    LINUX,
    capability,
    host,
    shipped_facts,
    shipped_profiles,
    version,
)

VERSIONS = st.lists(st.integers(0, 999), min_size=1, max_size=4).map(
    lambda parts: DottedVersion.parse(".".join(map(str, parts)))
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
LIBCS: st.SearchStrategy[Libc] = st.tuples(st.sampled_from(["glibc", "musl"]), VERSIONS.map(str))
PLATFORMS = st.one_of(
    st.builds(
        Platform,
        system=st.just("linux"),
        machine=st.sampled_from(["x86_64", "aarch64", "riscv64"]),
        kind=st.sampled_from(["linux", "wsl2", "jetson"]),
        libc=st.none() | LIBCS,
        container=st.none() | TEXTS,
    ),
    *(
        st.builds(
            Platform,
            system=st.just(name),
            machine=st.sampled_from(["x86_64", "arm64", "AMD64", "ARM64"]),
            kind=st.just(name),
            libc=st.none(),
            container=st.none() | TEXTS,
        )
        for name in ("macos", "windows")
    ),
)
CUDA_VERSIONS = st.tuples(st.integers(1, 99), st.integers(0, 99)).map(
    lambda parts: DottedVersion.parse(".".join(map(str, parts)))
)
CAPABILITIES = st.builds(ComputeCapability, st.integers(1, 99), st.integers(0, 9))
GPUS = st.builds(
    Gpu,
    index=st.integers(0, 64),
    uuid=st.none() | TEXTS,
    name=st.none() | TEXTS,
    compute_capability=st.none() | CAPABILITIES,
    memory_bytes=st.none() | st.integers(0, 2**48),
    brand=st.none() | TEXTS,
    pci=st.none() | TEXTS,
    mig=st.none() | st.integers(0, 7),
    status=st.sampled_from(["ok", "lost", "no-permission", "failed"]),
)
COMPATS = st.builds(
    Compat,
    cuda=st.none() | CUDA_VERSIONS,
    branches=st.lists(st.integers(1, 999), max_size=4).map(tuple),
    path=st.none() | TEXTS,
)
DRIVERS = st.builds(
    Driver,
    version=st.none() | VERSIONS,
    cuda=st.none() | CUDA_VERSIONS,
    compat=st.none() | COMPATS,
)
HOSTS = st.builds(
    Host,
    platform=PLATFORMS,
    driver=st.none() | DRIVERS,
    gpus=st.lists(
        GPUS,
        max_size=4,
        unique_by=(lambda gpu: gpu.index, lambda gpu: gpu.index if gpu.uuid is None else gpu.uuid),
    ).map(tuple),
    findings=st.lists(
        st.builds(Finding, code=TEXTS, message=TEXTS, hint=st.none() | TEXTS), max_size=3
    ).map(tuple),
    sources=st.dictionaries(TEXTS, TEXTS, max_size=3).map(lambda found: tuple(found.items())),
)
PYTHONS = st.sampled_from([None, "3.8", "3.11", "3.12", "3.14.2"])
TARGETS = st.builds(Target, host=HOSTS, python=PYTHONS)

SAVED: dict[str, Any] = {
    "platform": {
        "system": "linux",
        "machine": "x86_64",
        "class": "wsl2",
        "libc": ["glibc", "2.35"],
        "container": "docker",
    },
    "driver": {
        "version": "572.60",
        "cuda": "12.8",
        "compat": {"cuda": "13.0", "branches": [570, 580], "path": "/compat/libcuda.so.1"},
    },
    "gpus": [
        {
            "index": 0,
            "uuid": "GPU-1",
            "name": "NVIDIA H100",
            "compute_capability": "9.0",
            "memory_bytes": 85520809984,
            "brand": "nvidia",
            "pci": "0000:01:00.0",
            "mig": 2,
            "status": "ok",
        },
        {
            "index": 1,
            "uuid": None,
            "name": None,
            "compute_capability": None,
            "memory_bytes": None,
            "brand": None,
            "pci": None,
            "mig": None,
            "status": "lost",
        },
    ],
    "findings": [{"code": "gpu-lost", "message": "GPU 1 cannot be used", "hint": None}],
    "sources": {"driver": "nvml"},
    "python": "3.12",
}
TARGET = Target(
    host=Host(
        platform=Platform(
            system="linux",
            machine="x86_64",
            kind="wsl2",
            libc=("glibc", "2.35"),
            container="docker",
        ),
        driver=Driver(
            version=version("572.60"),
            cuda=version("12.8"),
            compat=Compat(cuda=version("13.0"), branches=(570, 580), path="/compat/libcuda.so.1"),
        ),
        gpus=(
            Gpu(
                index=0,
                uuid="GPU-1",
                name="NVIDIA H100",
                compute_capability=capability("9.0"),
                memory_bytes=85520809984,
                brand="nvidia",
                pci="0000:01:00.0",
                mig=2,
            ),
            Gpu(index=1, status="lost"),
        ),
        findings=(Finding(code="gpu-lost", message="GPU 1 cannot be used"),),
        sources=(("driver", "nvml"),),
    ),
    python="3.12",
)
FROM_FILE = (("target", "saved target"),)


def faults(data: object) -> tuple[str, ...]:
    """What is said to be wrong with a saved target."""
    with pytest.raises(TargetError) as caught:
        target_from_json(data, "box.json")
    assert caught.value.message == "target `box.json` is not valid"
    assert caught.value.exit_code == 2
    return caught.value.causes


@given(TARGETS)
def test_a_target_survives_being_written(target: Target) -> None:
    read = target_from_json(json.loads(json.dumps(target_to_json(target))), "box.json")
    host = replace(with_absence_findings(target.host), sources=FROM_FILE)
    assert read == replace(target, host=host)


@given(TARGETS)
def test_versions_are_written_as_they_were_spelled(target: Target) -> None:
    read = target_from_json(target_to_json(target), "box.json")
    complete = replace(target, host=with_absence_findings(target.host))
    written = {**target_to_json(complete), "sources": dict(FROM_FILE)}
    assert target_to_json(read) == written


def test_the_written_form_has_the_promised_fields() -> None:
    assert target_to_json(TARGET) == SAVED


def test_a_target_without_a_python_has_no_such_field() -> None:
    assert "python" not in target_to_json(Target(host=EMPTY))


def test_a_machine_without_a_driver_says_null() -> None:
    written = target_to_json(Target(host=EMPTY))
    assert written["driver"] is None
    assert written["gpus"] == []


def test_the_whole_output_of_detect_is_a_target() -> None:
    envelope = {"gpuenv": 1, "command": "detect", "status": "ok", "data": SAVED, "errors": []}
    assert target_from_json(envelope, "box.json") == target_from_json(SAVED, "box.json")


def test_a_saved_target_says_that_its_facts_were_saved() -> None:
    assert target_from_json(SAVED, "box.json").host.sources == FROM_FILE


def test_a_target_by_hand_needs_only_its_platform() -> None:
    target = target_from_json(
        {"platform": {"system": "macos", "machine": "arm64", "class": "macos"}}, "box.json"
    )
    assert target.host.platform.libc is None
    assert target.host.driver is None
    assert target.host.gpus == ()


def test_gpus_without_an_index_are_counted() -> None:
    cards = [{"compute_capability": "9.0"}, {"compute_capability": "7.0"}]
    target = target_from_json({"platform": SAVED["platform"], "gpus": cards}, "box.json")
    assert [gpu.index for gpu in target.host.gpus] == [0, 1]


def test_all_faults_of_a_saved_target_are_told_at_once_with_their_paths() -> None:
    assert faults(
        {
            "platform": {"system": "beos", "class": "mainframe", "libc": ["uclibc", "1"]},
            "driver": {"version": "newest", "cuda": "12.x"},
            "gpus": [
                {"index": "first", "uuid": 1, "name": 2, "memory_bytes": "much"},
                {"compute_capability": "sm_90"},
                "H100",
            ],
            "findings": {},
            "python": 3.12,
        }
    ) == (
        "`platform.system`: `beos` is none of `linux`, `macos`, `windows`",
        "`platform.class`: `mainframe` is none of `linux`, `wsl2`, `jetson`, `macos`, `windows`",
        "`platform.machine`: missing",
        "`platform.libc`: `['uclibc', '1']` is not like `[\"glibc\", \"2.35\"]`",
        "`driver.version`: `newest` is not a version of digits and dots",
        "`driver.cuda`: `12.x` is not a version of digits and dots",
        "`gpus[0].index`: expected int, got str",
        "`gpus[0].uuid`: expected str, got int",
        "`gpus[0].name`: expected str, got int",
        "`gpus[0].memory_bytes`: expected int, got str",
        "`gpus[1].compute_capability`: `sm_90` is not a compute capability such as `9.0`",
        "`gpus[2]`: expected an object, got str",
        "`findings`: expected a list, got dict",
        "`python`: expected str, got float",
    )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"driver": "580"}, "`driver`: expected an object or null, got str"),
        ({"gpus": None}, "`gpus`: expected a list, got null"),
        ({"gpus": {"0": "H100"}}, "`gpus`: expected a list, got dict"),
        ({"gpus": [{"index": True}]}, "`gpus[0].index`: expected int, got bool"),
        ({"platform": None}, "`platform`: missing"),
    ],
)
def test_a_single_fault_is_told_alone(change: dict[str, Any], fault: str) -> None:
    assert faults({**SAVED, **change}) == (fault,)


@pytest.mark.parametrize("libc", ["glibc", ["glibc"], ["glibc", 2.35], ["glibc", "new"], {}])
def test_a_c_library_is_a_pair_of_name_and_version(libc: object) -> None:
    told = faults({**SAVED, "platform": {**SAVED["platform"], "libc": libc}})
    assert all(fault.startswith("`platform.libc") for fault in told)


@pytest.mark.parametrize("data", [None, [], "linux", 1])
def test_what_is_no_object_is_no_target(data: object) -> None:
    named = "null" if data is None else type(data).__name__
    assert faults(data) == (f"expected an object, got {named}",)


def test_a_target_whose_python_is_no_version_is_refused() -> None:
    assert any("`python`" in fault for fault in faults({**SAVED, "python": "three.twelve"}))


@pytest.mark.parametrize("finding", ["nvml-failed", {"message": "no code"}, {"code": 3}])
def test_a_finding_that_cannot_be_read_is_a_fault(finding: object) -> None:
    assert any("`findings[0]" in fault for fault in faults({**SAVED, "findings": [finding]}))


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"driver": {"version": "580.65.06", "cuda": "13.0"}, "gpus": []}, "driver-no-device"),
        ({"driver": None, "gpus": [{"compute_capability": "9.0"}]}, "gpu-no-driver"),
    ],
)
def test_a_target_by_hand_with_half_a_gpu_stack_gets_the_cpu_with_a_warning(
    facts: dict[str, Any], code: str
) -> None:
    host = target_from_json({"platform": SAVED["platform"], **facts}, "box.json").host
    tables = shipped_facts()
    selection = select(consider(shipped_profiles(), host, tables, None), host, tables)
    assert selection.chosen.profile.name == "cpu"
    assert [warning.code for warning in selection.warnings] == [code]


@pytest.mark.parametrize("code", sorted(BROKEN))
def test_a_host_with_a_broken_driver_tells_what_is_broken(code: str) -> None:
    broken = Finding(code=code, message="NVML does not start")
    host = EMPTY.with_findings(Finding(code="no-gpu", message="none"), broken)
    assert host.broken == (broken,)


@pytest.mark.parametrize("code", sorted(BROKEN_UNTOLD))
def test_a_probe_that_failed_breaks_only_what_it_left_unknown(code: str) -> None:
    finding = Finding(code=code, message="NVML did not answer")
    told = host("580.65.06", None, "9.0").with_findings(finding)
    assert told.broken == ()
    assert replace(told, gpus=(Gpu(index=0),)).broken == (finding,)
    assert replace(told, driver=None).broken == (finding,)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"colour": "red"}, "`colour`: unknown"),
        ({"sources": 3}, "`sources`: expected an object, got int"),
        ({"gpus": [{"index": 1}, {"index": 1}]}, "`gpus[1].index`: `1` is `gpus[0]`'s too"),
        ({"driver": {"version": "580", "cude": "13.0"}}, "`driver.cude`: unknown"),
        ({"driver": {"compat": {"note": 1}}}, "`driver.compat.note`: unknown"),
        ({"driver": {"compat": 13}}, "`driver.compat`: expected an object, got int"),
        (
            {"driver": {"compat": {"branches": ["580"]}}},
            "`driver.compat.branches`: expected a list of integers",
        ),
        ({"gpus": [{"capability": "9.0"}]}, "`gpus[0].capability`: unknown"),
        ({"gpus": [{"index": -3}]}, "`gpus[0].index`: expected 0 or more, got -3"),
        (
            {"gpus": [{}, {"memory_bytes": -1}]},
            "`gpus[1].memory_bytes`: expected 0 or more, got -1",
        ),
        ({"gpus": [{"mig": -2}]}, "`gpus[0].mig`: expected 0 or more, got -2"),
        *(
            (
                {"platform": {"system": system, "machine": "x86_64", "class": kind}},
                f"`platform.class`: `{kind}` is not of system `{system}`",
            )
            for system, kind in (
                *(("macos", "jetson"), ("windows", "linux"), ("windows", "wsl2")),
                *(("linux", "macos"), ("macos", "windows")),
            )
        ),
        *(
            (
                {
                    "platform": {
                        "system": system,
                        "machine": "x86_64",
                        "class": system,
                        "libc": [name, "2.35"],
                    }
                },
                f"`platform.libc`: `{name}` is not of system `{system}`",
            )
            for system, name in (("macos", "glibc"), ("windows", "musl"))
        ),
        ({"platform": {**SAVED["platform"], "arch": "x"}}, "`platform.arch`: unknown"),
        ({"findings": [{"code": "x", "level": 1}]}, "`findings[0].level`: unknown"),
        (
            {"gpus": [{"status": "sad"}]},
            "`gpus[0].status`: `sad` is none of `ok`, `lost`, `no-permission`, `failed`",
        ),
    ],
)
def test_what_a_target_does_not_have_is_refused_with_its_path(
    change: dict[str, Any], fault: str
) -> None:
    told = faults({**SAVED, **change})
    assert [one.partition("; known are ")[0] for one in told] == [fault]


def test_an_unknown_key_of_a_target_comes_with_the_known_ones() -> None:
    change = {"driver": {"cude": "13.0"}}
    assert faults({**SAVED, **change}) == (
        "`driver.cude`: unknown; known are `version`, `cuda`, `compat`",
    )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            {"gpus": [{"compute_capability": "0.0"}]},
            "`gpus[0].compute_capability`: `0.0` is not a compute capability such as `9.0`",
        ),
        (
            {"driver": {"cuda": "130"}},
            "`driver.cuda`: `130` is not a CUDA version such as `13.0`; is `13.0` meant?",
        ),
        (
            {"gpus": [{"uuid": "GPU-1"}, {"uuid": "GPU-1"}]},
            "`gpus[1].uuid`: `GPU-1` is `gpus[0]`'s too",
        ),
        ({"python": "2.7"}, "`python`: `2.7` is not a Python version from `3.8` to `3.99`"),
    ],
)
def test_what_cannot_be_is_refused_in_a_target(change: dict[str, Any], fault: str) -> None:
    assert faults({**SAVED, **change}) == (fault,)


@pytest.mark.parametrize("text", ["9" * 100_000, "1." * 50_000])
def test_a_number_of_absurd_length_is_refused_shortly(text: str) -> None:
    change = {"driver": {"version": text, "cuda": text}, "python": text}
    told = faults({**SAVED, **change, "gpus": [{"compute_capability": text}]})
    assert len(told) == 4
    assert all(len(fault) < 200 for fault in told)


@pytest.mark.parametrize(
    ("system", "kind", "written", "machine"),
    [
        ("linux", "linux", "arm64", "aarch64"),
        ("linux", "wsl2", "AMD64", "x86_64"),
        ("linux", "linux", "amd64", "x86_64"),
        ("macos", "macos", "arm64", "arm64"),
        ("windows", "windows", "AMD64", "AMD64"),
    ],
)
def test_a_machine_of_a_target_has_the_name_that_its_system_has_for_it(
    system: str, kind: str, written: str, machine: str
) -> None:
    data = {"platform": {"system": system, "machine": written, "class": kind}}
    assert target_from_json(data, "host.json").host.platform.machine == machine


def test_a_machine_that_nobody_knows_is_refused_in_a_target() -> None:
    (told,) = faults({**SAVED, "platform": {**SAVED["platform"], "machine": "vax"}})
    assert told.startswith("`platform.machine`: `vax` is none of `x86_64`, ")


@pytest.mark.parametrize(
    ("name", "brand", "known"),
    [
        ("NVIDIA GeForce RTX 4090", None, "geforce"),
        ("NVIDIA GeForce RTX 4090", "unknown", "geforce"),
        ("NVIDIA GeForce RTX 4090", "geforcertx", "geforcertx"),
        ("NVIDIA H100", None, None),
        (None, "tesla", "tesla"),
    ],
)
def test_a_geforce_is_known_by_its_name_where_its_brand_is_not(
    name: str | None, brand: str | None, known: str | None
) -> None:
    assert Gpu(index=0, name=name, brand=brand).brand_or_name == known


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Orin (nvgpu)", "integrated"),
        ("NVIDIA Thor", "integrated"),
        ("NVIDIA RTX 6000", "discrete"),
        (None, "discrete"),
    ],
)
def test_the_integrated_gpu_of_a_tegra_is_known_by_its_name(name: str | None, kind: str) -> None:
    assert Gpu(index=0, name=name).integrated is (kind == "integrated")


def test_absence_is_not_brokenness() -> None:
    host = EMPTY.with_findings(
        *(
            Finding(code=code, message=code)
            for code in ("no-gpu", "gpu-no-driver", "driver-no-device", "gpu-lost")
        )
    )
    assert host.broken == ()


def test_adding_a_finding_leaves_the_host_as_it_was() -> None:
    found = Finding(code="no-gpu", message="none")
    assert EMPTY.with_findings(found).findings == (found,)
    assert EMPTY.findings == ()
    assert EMPTY.platform == LINUX
