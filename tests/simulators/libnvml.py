"""A compiled ``libnvidia-ml.so.1`` for child processes with the real pynvml."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .nvml import FailureKey, SimulatedGpu

_SOURCE = Path(__file__).with_name("libnvml.c")
_NAME = "libnvidia-ml.so.1"


class NoCompilerError(RuntimeError):
    """There is no C compiler, so a test that needs one can be skipped."""


def build_libnvml(folder: Path) -> Path:
    """Compile the stand-in.

    Args:
        folder: Where the library goes; made if missing. It belongs into the
            ``LD_LIBRARY_PATH`` of the child process.

    Returns:
        The path of the library.

    Raises:
        NoCompilerError: There is neither ``cc`` nor ``gcc``.
        RuntimeError: The compiler failed.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        message = "no C compiler (cc, gcc) to build the stand-in for NVML with"
        raise NoCompilerError(message)
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / _NAME
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", f"-Wl,-soname,{_NAME}"]
    done = subprocess.run(
        [*command, "-o", str(library), str(_SOURCE)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        message = f"{compiler} could not build {_NAME}:\n{done.stderr}"
        raise RuntimeError(message)
    return library


def libnvml_environment(  # noqa: PLR0913 - all but one are optional
    library: Path,
    *,
    driver: str = "580.65.06",
    cuda: int = 13000,
    gpus: tuple[SimulatedGpu, ...] = (),
    init_error: int = 0,
    failures: Mapping[FailureKey, int] | None = None,
) -> dict[str, str]:
    """Return the variables under which a child process sees a machine.

    Args:
        library: What ``build_libnvml`` returned.
        driver: The driver's version.
        cuda: ``1000 * major + 10 * minor``.
        gpus: The GPUs, by index; all of their memory is free.
        init_error: The code that nvmlInit answers with, if it fails.
        failures: Codes by function, or by function and device index.

    Returns:
        Variables to add to the child's environment.
    """
    codes = (
        f"{key if isinstance(key, str) else f'{key[0]}@{key[1]}'}={code}"
        for key, code in (failures or {}).items()
    )
    described = (
        f"{gpu.name}|{gpu.uuid}|{gpu.memory_bytes}|{'.'.join(map(str, gpu.compute_capability))}"
        for gpu in gpus
    )
    return {
        "LD_LIBRARY_PATH": str(library.parent),
        "SIM_NVML_DRIVER": driver,
        "SIM_NVML_CUDA": str(cuda),
        "SIM_NVML_GPUS": ";".join(described),
        "SIM_NVML_INIT_ERROR": str(init_error),
        "SIM_NVML_FAILURES": ";".join(codes),
    }
