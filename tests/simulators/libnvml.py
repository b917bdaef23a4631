"""Compiled stand-ins for the driver's libraries, for child processes with the real pynvml."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .roots import make_root

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .nvml import FailureKey, SimulatedGpu

_FOLDER = Path(__file__).parent
LIBNVML = "libnvidia-ml.so.1"
LIBCUDA = "libcuda.so.1"


class NoCompilerError(RuntimeError):
    """There is no C compiler, so a test that needs one can be skipped."""


def build_libnvml(folder: Path, *, without: tuple[str, ...] = ()) -> Path:
    """Compile the stand-in for NVML.

    Args:
        folder: Where the library goes; made if missing. It belongs into the
            ``LD_LIBRARY_PATH`` of the child process.
        without: Functions that the library does not have, as an old one.

    Returns:
        The path of the library.

    Raises:
        NoCompilerError: There is neither ``cc`` nor ``gcc``.
        RuntimeError: The compiler failed.
    """
    renamed = [f"-D{name}=absent_{name}" for name in without]
    return build_library(folder / LIBNVML, "libnvml.c", LIBNVML, *renamed)


def build_libcuda(path: Path, *, cuda: int = 13000, note: str | None = None) -> Path:
    """Compile the stand-in for libcuda.

    Args:
        path: The file, whose name may tell a version; a link of the library's
            own name is put beside it.
        cuda: ``1000 * major + 10 * minor``.
        note: What its note of forward compatibility says, if it has one.

    Returns:
        The path of the library.

    Raises:
        NoCompilerError: There is neither ``cc`` nor ``gcc``.
        RuntimeError: The compiler failed.
    """
    given = [f"-DCUDA_VERSION={cuda}"]
    if note is not None:
        # Once for C, once for the assembler.
        escaped = note.replace("\\", "\\\\\\\\").replace('"', '\\\\\\"')
        given.append(f'-DNOTE="{escaped}"')
    library = build_library(path, "libcuda.c", LIBCUDA, *given)
    if path.name != LIBCUDA:
        path.with_name(LIBCUDA).symlink_to(path.name)
    return library


def build_library(library: Path, source: str, name: str, *words: str) -> Path:
    """Compile a stand-in of these sources.

    Args:
        library: The file to make; its folder is made if missing.
        source: The source's name beside this module.
        name: What the library calls itself.
        words: More for the compiler.

    Returns:
        The path of the library.

    Raises:
        NoCompilerError: There is neither ``cc`` nor ``gcc``.
        RuntimeError: The compiler failed.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        message = f"no C compiler (cc, gcc) to build the stand-in {name} with"
        raise NoCompilerError(message)
    library.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", f"-Wl,-soname,{name}", *words]
    done = subprocess.run(
        [*command, "-o", str(library), str(_FOLDER / source), "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        message = f"{compiler} could not build {name}:\n{done.stderr}"
        raise RuntimeError(message)
    return library


@dataclass(frozen=True, kw_only=True)
class Script:
    """What the stand-ins answer; they read it from a file at each call.

    Attributes:
        driver: The driver's version.
        cuda: ``1000 * major + 10 * minor``; None: NVML asks libcuda.
        libcuda: What libcuda answers, if not what it was compiled with.
        gpus: The GPUs, by index; all of their memory is free.
        failures: Codes by function, or by function and device index.
        hangs: Functions, or functions and device indexes, that never answer.
        crashes: The same, that abort.
        log: Where every call of NVML is written down.
    """

    driver: str = "580.65.06"
    cuda: int | None = 13000
    libcuda: int | None = None
    gpus: tuple[SimulatedGpu, ...] = ()
    failures: Mapping[FailureKey, int] = field(default_factory=dict)
    hangs: tuple[FailureKey, ...] = ()
    crashes: tuple[FailureKey, ...] = ()
    log: Path | None = None

    def write(self, path: Path) -> Path:
        """Write the file that ``SIM_NVML_FILE`` has to name."""
        lines = [f"driver {self.driver}", f"cuda {self.cuda or 'libcuda'}"]
        lines += [f"libcuda {self.libcuda}"] if self.libcuda is not None else []
        lines += [f"log {self.log}"] if self.log else []
        lines += [f"gpu {_gpu(gpu)}" for gpu in self.gpus]
        lines += [f"fail {_key(key)} {code}" for key, code in self.failures.items()]
        lines += [f"hang {_key(key)}" for key in self.hangs]
        lines += [f"crash {_key(key)}" for key in self.crashes]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    @property
    def loaded(self) -> bool:
        """Whether the driver's kernel module is loaded, as the answers have it."""
        not_loaded = 9
        return self.failures.get("nvmlInit") != not_loaded


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

    Its files are made beside the library, and are other ones at each call.

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
    broken: dict[FailureKey, int] = {"nvmlInit": init_error} if init_error else {}
    script = Script(driver=driver, cuda=cuda, gpus=gpus, failures={**broken, **(failures or {})})
    return scripted_environment(library, script)


def scripted_environment(library: Path, script: Script) -> dict[str, str]:
    """Return the variables under which a child process sees a machine of these answers."""
    folder = Path(tempfile.mkdtemp(dir=library.parent))
    root = make_root(
        folder / "root",
        driver=script.driver if script.loaded else None,
        nodes=len(script.gpus) if script.loaded else 0,
        libraries=(library,),
    )
    return {
        "LD_LIBRARY_PATH": str(library.parent),
        "SIM_NVML_FILE": str(script.write(folder / "nvml.txt")),
        "GPUENV_ROOT": str(root),
    }


def _gpu(gpu: SimulatedGpu) -> str:
    capability = ".".join(map(str, gpu.compute_capability))
    mig = "" if gpu.mig is None else gpu.mig
    return f"{gpu.name}|{gpu.uuid}|{gpu.memory_bytes}|{capability}|{gpu.brand}|{gpu.pci}|{mig}"


def _key(key: FailureKey) -> str:
    return key if isinstance(key, str) else f"{key[0]}@{key[1]}"
