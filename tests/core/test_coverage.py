"""Whether code that was built for some GPUs runs on another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.coverage import BuiltFor, Code, Coverage, cover, parse_code
from provisioner.core.version import ComputeCapability, DottedVersion
from tests.core.examples import capability, version

CAPABILITIES = st.builds(ComputeCapability, st.integers(1, 20), st.integers(0, 9))
ARCHITECTURES = st.builds(BuiltFor, CAPABILITIES, st.sampled_from(["", "a", "f"])).map(str)
CODES = st.builds(
    Code,
    sass=st.lists(ARCHITECTURES, max_size=5).map(tuple),
    ptx=st.lists(ARCHITECTURES, max_size=3).map(tuple),
)
VERSIONS = st.builds(
    lambda major, minor: DottedVersion.parse(f"{major}.{minor}"),
    st.integers(11, 14),
    st.integers(0, 9),
)


def runs(gpu: str, *built: str, driver: str | None = None, ptx_from: str | None = None) -> Coverage:
    return cover(
        parse_code(built),
        capability(gpu),
        cuda_of_driver=None if driver is None else version(driver),
        ptx_from=None if ptx_from is None else version(ptx_from),
    )


@pytest.mark.parametrize(
    ("gpu", "built", "expected"),
    [
        ("9.0", ["9.0"], Coverage.NATIVE),
        ("6.1", ["6.0"], Coverage.NATIVE),
        ("12.1", ["12.0"], Coverage.NATIVE),
        ("8.6", ["8.9"], Coverage.NONE),
        ("7.0", ["7.5", "8.0"], Coverage.NONE),
        ("12.0", ["10.0"], Coverage.NONE),
        ("10.0", ["9.0", "9.0+PTX"], Coverage.PTX),
        ("12.0", ["compute_90"], Coverage.PTX),
        ("8.0", ["compute_90"], Coverage.NONE),
        ("9.0", ["sm_90a"], Coverage.NATIVE),
        ("10.0", ["sm_100a"], Coverage.NATIVE),
        ("10.3", ["sm_100a"], Coverage.NONE),
        ("10.3", ["compute_100a"], Coverage.NONE),
        ("10.3", ["sm_100f"], Coverage.NATIVE),
        ("10.0", ["sm_103f"], Coverage.NONE),
        ("12.0", ["sm_100f"], Coverage.NONE),
        ("12.0", ["compute_100f"], Coverage.NONE),
        ("10.3", ["compute_100f"], Coverage.PTX),
        ("9.0", [], Coverage.NONE),
    ],
)
def test_code_runs_by_nvidias_rules(gpu: str, built: list[str], expected: Coverage) -> None:
    assert runs(gpu, *built) is expected


@pytest.mark.parametrize(
    ("driver", "ptx_from", "expected"),
    [
        ("12.8", "12.8", Coverage.PTX),
        ("13.0", "12.8", Coverage.PTX),
        ("12.8", "12.9", Coverage.PTX_TOO_NEW),
        (None, "12.9", Coverage.PTX),
        ("12.8", None, Coverage.PTX),
    ],
)
def test_a_driver_compiles_no_ptx_of_a_newer_toolkit(
    driver: str | None, ptx_from: str | None, expected: Coverage
) -> None:
    assert runs("12.0", "9.0+PTX", driver=driver, ptx_from=ptx_from) is expected


def test_machine_code_needs_no_compiling_driver() -> None:
    assert runs("9.0", "9.0+PTX", driver="12.0", ptx_from="12.9") is Coverage.NATIVE


def test_texts_of_compilers_and_lists_are_read() -> None:
    assert parse_code(["9.0", "12.0+PTX", "sm_90a", "sm_100f", "compute_120"]) == Code(
        sass=("9.0", "9.0a", "10.0f", "12.0"), ptx=("12.0",)
    )


@pytest.mark.parametrize("text", ["sm90", "9", "9.0b", "compute_9", "sm_90+PTX", "", "9.0 "])
def test_what_is_no_architecture_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an architecture"):
        parse_code([text])


@pytest.mark.parametrize("text", ["9.0+PTX", "sm_90", "x"])
def test_an_architecture_is_dotted(text: str) -> None:
    with pytest.raises(ValueError, match="is not an architecture"):
        BuiltFor.parse(text)


@given(ARCHITECTURES)
def test_an_architecture_is_written_as_it_is_read(text: str) -> None:
    assert str(BuiltFor.parse(text)) == text


@given(CODES, CAPABILITIES)
def test_the_next_minor_never_runs_worse_but_for_exact_code(
    code: Code, gpu: ComputeCapability
) -> None:
    code = Code(
        sass=tuple(text for text in code.sass if not text.endswith("a")),
        ptx=tuple(text for text in code.ptx if not text.endswith("a")),
    )
    order = list(Coverage)
    before = cover(code, gpu, cuda_of_driver=None, ptx_from=None)
    newer = ComputeCapability(gpu.major, gpu.minor + 1)
    assert order.index(cover(code, newer, cuda_of_driver=None, ptx_from=None)) <= order.index(
        before
    )


@given(CODES, CODES, CAPABILITIES, VERSIONS, VERSIONS)
def test_more_code_never_runs_worse(
    one: Code, other: Code, gpu: ComputeCapability, driver: DottedVersion, toolkit: DottedVersion
) -> None:
    order = list(Coverage)
    both = cover(
        Code(sass=one.sass + other.sass, ptx=one.ptx + other.ptx),
        gpu,
        cuda_of_driver=driver,
        ptx_from=toolkit,
    )
    alone = cover(one, gpu, cuda_of_driver=driver, ptx_from=toolkit)
    assert order.index(both) <= order.index(alone)


@given(CODES, CAPABILITIES, VERSIONS, VERSIONS, VERSIONS)
def test_a_newer_driver_never_runs_code_worse(
    code: Code,
    gpu: ComputeCapability,
    one: DottedVersion,
    other: DottedVersion,
    toolkit: DottedVersion,
) -> None:
    older, newer = sorted((one, other))
    order = list(Coverage)
    before = cover(code, gpu, cuda_of_driver=older, ptx_from=toolkit)
    after = cover(code, gpu, cuda_of_driver=newer, ptx_from=toolkit)
    assert order.index(after) <= order.index(before)


@pytest.mark.parametrize(
    ("coverage", "expected"),
    [
        (Coverage.NATIVE, True),
        (Coverage.PTX, True),
        (Coverage.PTX_TOO_NEW, False),
        (Coverage.NONE, False),
    ],
)
def test_two_coverages_run(coverage: Coverage, *, expected: bool) -> None:
    assert coverage.runs is expected
