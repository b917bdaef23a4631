"""Errors of the CUDA runtime, by their numbers and by what libraries say of them."""

from __future__ import annotations

import pytest

from provisioner.core.cuda_errors import KNOWN, known_error

SAID = {
    "RuntimeError: CUDA error: no kernel image is available for execution on the device\n"
    "CUDA kernel errors might be asynchronously reported at some other API call": 209,
    "RuntimeError: The NVIDIA driver on your system is too old (found version 12020). Please "
    "update your GPU driver": 35,
    "RuntimeError: No CUDA GPUs are available": 100,
    "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB": 2,
    "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 803: system has unsupported "
    "display driver / cuda driver combination": 803,
    "Error 804: forward compatibility was attempted on non supported HW": 804,
    "Error 802: system not yet initialized": 802,
    "CUDARuntimeError: cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA "
    "runtime version": 35,
    "the provided PTX was compiled with an unsupported toolchain.": 222,
    "CUDA-capable device(s) is/are busy or unavailable": 46,
    "createInferRuntime: Error Code 6: API Usage Error (CUDA initialization failure with error: "
    "35 In checkCudaInstallation at /_src/runtime/dispatch/runtime.cpp:811)": 35,
}


@pytest.mark.parametrize(("said", "number"), SAID.items())
def test_the_words_of_a_library_are_understood(said: str, number: int) -> None:
    found = known_error(None, said)
    assert found is not None
    assert found.number == number


@pytest.mark.parametrize("error", KNOWN, ids=lambda error: str(error.number))
def test_a_number_counts_whatever_is_said(error: object) -> None:
    assert known_error(getattr(error, "number", None), "out of memory; stub library") == error


@pytest.mark.parametrize(("number", "said"), [(700, "out of memory"), (None, "?"), (None, None)])
def test_what_is_not_known_is_not_guessed(number: int | None, said: str | None) -> None:
    assert known_error(number, said) is None
