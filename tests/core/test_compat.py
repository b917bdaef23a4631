"""What the tables say of a driver: its CUDA version, and the GPUs that it drives."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.compat import CODES, driver_findings
from provisioner.core.host import Compat, Driver, Gpu, Host
from provisioner.core.judge import judge
from provisioner.core.target import apply_overrides, override_variables
from tests.core.examples import (
    EMPTY,
    LINUX,
    capability,
    host,
    shipped_facts,
    shipped_profiles,
    version,
)

if TYPE_CHECKING:
    from provisioner.core.host import PlatformClass
    from provisioner.core.version import ComputeCapability, DottedVersion


@dataclass(frozen=True)
class Known:
    """An architecture of the tables below."""

    first_driver_branch: int | None = None
    last_driver_branch: int | None = None


@dataclass(frozen=True)
class Tables:
    """Tables made by hand."""

    cuda_of: dict[int, str] = field(
        default_factory=lambda: {
            470: "11.4",
            520: "11.8",
            535: "12.2",
            570: "12.8",
            580: "13.0",
            590: "13.1",
        }
    )
    packages: dict[str, tuple[int, ...]] = field(
        default_factory=lambda: {"12.8": (470, 535), "13.0": (535, 550, 570), "13.1": (535, 580)}
    )
    compat_brands: frozenset[str] = frozenset({"tesla", "nvidia", "unknown"})
    architectures: dict[str, Known] = field(
        default_factory=lambda: {
            "7.0": Known(last_driver_branch=580),
            "9.0": Known(first_driver_branch=520),
            "12.0": Known(first_driver_branch=570),
            "8.0": Known(),
        }
    )

    @property
    def newest_branch(self) -> int:
        return max(self.cuda_of)

    def branch(self, driver: DottedVersion) -> int | None:
        known = [branch for branch in self.cuda_of if branch <= driver.major]
        return max(known, default=None) if driver.major <= self.newest_branch else None

    def natural_cuda(self, driver: DottedVersion) -> DottedVersion | None:
        branch = self.branch(driver)
        return version(self.cuda_of[branch]) if branch else None

    def compat_branches(self, cuda: DottedVersion) -> tuple[int, ...]:
        return self.packages.get(str(cuda), ())

    def architecture(self, wanted: ComputeCapability) -> Known | None:
        return self.architectures.get(str(wanted))


TABLES = Tables()


def judged(machine: Host) -> Host:
    return driver_findings(machine, TABLES)


def overridden(machine: Host, **variables: str) -> Host:
    return apply_overrides(machine, override_variables(variables))


def codes(machine: Host) -> list[str]:
    return [finding.code for finding in machine.findings]


def with_package(
    driver: str, cuda: str, brand: str | None = "nvidia", *, branches: tuple[int, ...] = ()
) -> Host:
    """A machine with an A100 whose libcuda is from a compatibility package."""
    package = Compat(
        cuda=version(cuda), branches=branches, path="/usr/local/cuda/compat/libcuda.so.1"
    )
    return replace(
        EMPTY,
        driver=Driver(version=version(driver), cuda=version(cuda), compat=package),
        gpus=(Gpu(index=0, name="A GPU", compute_capability=capability("8.0"), brand=brand),),
    )


def test_a_driver_with_its_own_cuda_version_says_nothing() -> None:
    machine = host("570.124.06", "12.8", "9.0", "8.0")
    assert judged(machine) == machine


def test_a_machine_without_a_driver_says_nothing() -> None:
    assert judged(EMPTY) == EMPTY


def test_a_newer_cuda_version_than_the_branchs_own_is_a_compatibility_package() -> None:
    machine = judged(host("535.129.03", "13.0", "8.0"))
    assert codes(machine) == ["compat-active"]
    assert "`13.0`" in machine.findings[0].message
    assert "`12.2`" in machine.findings[0].message
    assert machine.driver is not None
    assert str(machine.driver.cuda) == "13.0"


def test_the_note_of_the_library_counts_before_the_table() -> None:
    assert codes(judged(with_package("580.65.06", "13.1", branches=(580,)))) == ["compat-active"]
    assert codes(judged(with_package("580.65.06", "13.1"))) == ["compat-active"]
    refused = judged(with_package("580.65.06", "13.1", branches=(535, 550)))
    assert codes(refused) == ["compat-unusable"]
    assert "535, 550" in refused.findings[0].message


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (with_package("535.129.03", "13.0", "geforce"), "error 804"),
        (with_package("570.124.06", "12.2"), "error 803"),
        (with_package("470.82.01", "13.0"), "branches 535, 550, 570"),
    ],
)
def test_a_package_that_cannot_work_leaves_the_drivers_own_cuda_version(
    machine: Host, words: str
) -> None:
    changed = judged(machine)
    assert codes(changed) == ["compat-unusable"]
    (finding,) = changed.findings
    assert words in finding.message
    assert finding.hint is not None
    assert "`/usr/local/cuda/compat`" in finding.hint
    assert changed.driver is not None
    assert machine.driver is not None
    assert machine.driver.version is not None
    natural = TABLES.natural_cuda(machine.driver.version)
    assert changed.driver.cuda == natural
    assert f"`{natural}`" in finding.message
    assert f"`{machine.driver.cuda}`" in finding.message
    assert dict(changed.sources)["cuda"].startswith("driver branch")


def test_a_library_older_than_the_driver_within_its_branch_is_told_to_be_removed() -> None:
    machine = with_package("580.95.05", "13.0")
    package = Compat(cuda=None, path="/compat/libcuda.so.580.65.06")
    assert machine.driver is not None
    machine = replace(machine, driver=replace(machine.driver, compat=package))
    assert codes(judged(machine)) == ["compat-unusable"]


def test_a_brand_that_nobody_told_is_not_held_against_a_package() -> None:
    assert codes(judged(with_package("535.129.03", "13.0", None))) == ["compat-active"]


def test_a_geforce_by_name_alone_cannot_use_a_package() -> None:
    machine = with_package("535.129.03", "13.0", None)
    named = replace(machine, gpus=(replace(machine.gpus[0], name="NVIDIA GeForce RTX 4090"),))
    assert codes(judged(named)) == ["compat-unusable"]
    assert "whose brand is `geforce`" in judged(named).findings[0].message


@pytest.mark.parametrize("brand", [None, "unknown"])
def test_where_neither_brand_nor_name_is_known_the_doubt_is_told(brand: str | None) -> None:
    machine = with_package("535.129.03", "13.0", brand)
    nameless = replace(machine, gpus=(replace(machine.gpus[0], name=None),))
    assert "GeForce" in judged(nameless).findings[0].message
    assert "GeForce" not in judged(machine).findings[0].message


def test_an_overridden_cuda_version_is_obeyed_and_told_of() -> None:
    machine = with_package("535.129.03", "13.0", "geforce")
    sources = (("cuda", "overridden by `GPUENV_CUDA`"),)
    changed = judged(replace(machine, sources=sources))
    assert codes(changed) == ["compat-unusable"]
    assert changed.driver == machine.driver


@pytest.mark.parametrize("driver", ["580.95.05", "585.10", "589.99"])
def test_a_driver_between_two_branches_is_counted_to_the_lower_one(driver: str) -> None:
    assert judged(host(driver, None, "7.0")).findings == ()


def test_a_driver_newer_than_the_tables_left_old_gpus_behind() -> None:
    assert "gpu-unknown-to-driver" in codes(judged(host("999.1", None, "7.0")))


@pytest.mark.parametrize(
    ("driver", "said"), [("591.44", ["gpu-unknown-to-driver"]), ("581.29", [])]
)
def test_under_wsl_a_driver_drives_what_its_branch_does(driver: str, said: list[str]) -> None:
    machine = replace(host(driver, None, "7.0"), platform=replace(LINUX, kind="wsl2"))
    assert codes(judged(machine)) == said


DRIVERS = st.builds("{}.{}".format, st.integers(min_value=300, max_value=1000), st.integers(0, 200))


@given(
    DRIVERS,
    st.sampled_from(["3.7", "6.1", "7.0", "8.0", "9.0", "10.3", "12.1", "13.0"]),
    st.sampled_from(["linux", "wsl2", "jetson"]),
)
def test_a_finding_about_a_gpu_is_a_rejection_of_every_line_and_the_reverse(
    driver: str, gpu: str, kind: PlatformClass
) -> None:
    facts = shipped_facts()
    machine = replace(host(driver, None, gpu), platform=replace(LINUX, kind=kind))
    (cu12,) = (item for item in shipped_profiles() if item.name == "cu12")
    code = "gpu-unknown-to-driver"
    refused = code in {reason.code for reason in judge(cu12, machine, facts).reasons}
    assert refused is (code in codes(driver_findings(machine, facts)))


@pytest.mark.parametrize(("kind", "said"), [("wsl2", []), ("jetson", ["jetson"])])
def test_a_cuda_version_of_another_numbering_is_not_measured_by_linuxs(
    kind: PlatformClass, said: list[str]
) -> None:
    machine = replace(host("535.129.03", "13.0", "8.0"), platform=replace(LINUX, kind=kind))
    assert codes(judged(machine)) == said
    assert judged(machine).driver == machine.driver


def test_a_jetson_without_a_driver_is_told_too_and_once() -> None:
    machine = judged(replace(EMPTY, platform=replace(LINUX, kind="jetson")))
    assert codes(machine) == ["jetson"]
    assert judged(machine) == machine


def test_where_a_user_named_both_versions_no_package_is_blamed() -> None:
    machine = overridden(
        host("580.65.06", "13.0", "8.0"), GPUENV_DRIVER="470.82.01", GPUENV_CUDA="13.0"
    )
    changed = judged(machine)
    assert codes(changed) == ["override-contradicts"]
    assert changed.driver == machine.driver
    one = overridden(host("470.82.01", "11.4", "8.0"), GPUENV_CUDA="13.0")
    assert "compat-unusable" in codes(judged(one))


def test_a_branch_between_those_of_the_tables_is_not_judged() -> None:
    machine = host("572.60", "12.9", "9.0")
    assert judged(machine) == machine


@pytest.mark.parametrize(
    ("driver", "cuda", "gpu", "words"),
    [
        ("535.129.03", "12.2", "12.0", ">=570"),
        ("590.44.01", "13.1", "7.0", "branch `580`"),
    ],
)
def test_a_gpu_that_its_driver_does_not_know_is_named_by_its_place(
    driver: str, cuda: str, gpu: str, words: str
) -> None:
    changed = judged(host(driver, cuda, "8.0", gpu))
    assert codes(changed) == ["gpu-unknown-to-driver"]
    (finding,) = changed.findings
    assert finding.message.startswith(f"`gpus[1]`: compute capability `{gpu}`")
    assert words in finding.message
    assert f"`{driver}`" in finding.message


@pytest.mark.parametrize("driver", ["580.95.05", "520.61.05"])
def test_the_first_and_the_last_branch_still_drive_a_gpu(driver: str) -> None:
    gpu = "7.0" if driver.startswith("580") else "9.0"
    assert "gpu-unknown-to-driver" not in codes(judged(host(driver, None, gpu)))


@pytest.mark.parametrize(("driver", "cuda"), [("595.45.04", "13.1"), ("590.44.01", "13.2")])
def test_what_is_newer_than_the_tables_is_told_and_no_fault(driver: str, cuda: str) -> None:
    machine = judged(host(driver, cuda, "9.0"))
    assert "newer-than-tables" in codes(machine)
    assert machine.broken == ()


def test_a_host_is_judged_once() -> None:
    machine = judged(with_package("535.129.03", "13.0", "geforce"))
    assert judged(machine) == machine


@given(
    st.sampled_from([None, "450.1", "470.82.01", "535.129.03", "555.1", "580.65.06", "999.1"]),
    st.sampled_from([None, "11.4", "12.2", "12.8", "13.0", "13.5", "99.9"]),
    st.lists(st.sampled_from(["5.2", "7.0", "8.0", "9.0", "12.0", "99.0"]), max_size=3),
    st.sampled_from([None, "geforce", "nvidia", "titan"]),
    st.booleans(),
)
def test_judging_never_takes_the_driver_or_a_gpu_away(
    driver: str | None,
    cuda: str | None,
    capabilities: list[str],
    brand: str | None,
    package: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    machine = host(driver, cuda, *capabilities)
    assert machine.driver is not None
    compat = Compat(cuda=machine.driver.cuda, path="/compat/libcuda.so.1") if package else None
    machine = replace(
        machine,
        driver=replace(machine.driver, compat=compat),
        gpus=tuple(replace(gpu, brand=brand) for gpu in machine.gpus),
    )
    for facts in (TABLES, shipped_facts()):
        changed = driver_findings(machine, facts)
        assert changed.gpus == machine.gpus
        before, after = machine.driver, changed.driver
        assert before is not None
        assert after is not None
        assert after.version == before.version
        assert (after.cuda is None) is (before.cuda is None)
        assert set(codes(changed)) <= CODES
