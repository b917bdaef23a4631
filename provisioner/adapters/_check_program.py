"""Run by an environment's own Python: load a GPU library, and try it on the GPUs.

It stands alone: the standard library of Python 3.9 or newer, and nothing of gpuenv, which the
environment does not have. What is asked for is the one argument, in JSON. Each answer is a line
of JSON, and so is each call before it is made, so that a hang or a crash names its call.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import os
import platform
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Say = Callable[[dict[str, Any]], None]

_LIBRARIES = (
    "cudart",
    "nvrtc",
    "nvJitLink",
    "cublas",
    "cufft",
    "curand",
    "cusparse",
    "cusolver",
    "cudnn",
    "nccl",
)
"""Of NVIDIA's packages, those that need nothing but the driver and each other, in that order."""
_MODULES = ("tensorrt", "tensorrt_lean", "tensorrt_dispatch", "torch", "cupy")
_SONAME = re.compile(r"lib(\w+?)\.so\.\d+$")
_BYTES = 1 << 20
_TO_DEVICE, _TO_HOST = 1, 2
_MAJOR, _MINOR = 75, 76
"""`cudaMemcpyKind` and `cudaDeviceAttr` of CUDA's `driver_types.h`."""
_SIDE = 64
_MOST_WORDS = 2000
_OF_DRIVER = ("libcuda.so", "libnvidia-")
_KEPT: list[Any] = []
"""What must not be taken down: that crashes where its making had failed (TensorRT 10.16)."""


class _OverError(Exception):
    """A call failed, and what comes after it makes no sense."""


class _Task:
    """Says each call before it is made, and its answer."""

    def __init__(self, say: Say, gpu: int | None = None) -> None:
        self._say = say
        self._where: dict[str, Any] = {} if gpu is None else {"gpu": gpu}

    def on(self, gpu: int) -> _Task:
        return _Task(self._say, gpu)

    def tell(self, call: str, value: Any) -> None:  # noqa: ANN401 - JSON
        self._say({"call": call, **self._where, "value": value})

    def fail(self, call: str, said: str, error: int | None = None) -> None:
        found = {} if error is None else {"error": error}
        self._say({"call": call, **self._where, **found, "said": said[:_MOST_WORDS]})
        raise _OverError

    def ask(self, call: str, function: Callable[[], Any]) -> Any:  # noqa: ANN401 - a library's
        """Call something of Python's."""
        self._say({"call": call, **self._where})
        try:
            return function()
        except _OverError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told of
            self.fail(call, f"{type(error).__name__}: {error}")


def survey(task: _Task) -> None:
    """Say which Python this is, and what there is to load."""
    found: dict[str, list[str]] = {}
    for folder in sys.path:
        for path in sorted(Path(folder).glob("nvidia/*/lib/*")):
            name = _SONAME.match(path.name)
            if name and name.group(1) in _LIBRARIES:
                found.setdefault(name.group(1), []).append(str(path))
    libraries = [path for name in _LIBRARIES for path in found.get(name, ())]
    modules = [name for name in _MODULES if _is_there(name)]
    python = platform.python_version()
    task.tell("survey", {"python": python, "libraries": libraries, "modules": modules})


def _is_there(module: str) -> bool:
    """Whether a module could be imported; a folder without code, which is left over, could not."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def driver(task: _Task) -> None:
    """Load the driver's library as the CUDA runtime does, by its name."""
    library = _load(task, "libcuda.so.1")
    version = ctypes.c_int()
    call = "cuDriverGetVersion"
    code = task.ask(call, lambda: library.cuDriverGetVersion(ctypes.byref(version)))
    if code:
        task.fail(call, "CUDA driver error", code)
    task.tell(call, version.value)


def library(task: _Task, path: str, searched: list[str]) -> None:
    """Load a library by its path, and ask for its version.

    `searched` are the folders that the user's variables have the loader look in first.
    """
    loaded = _load(task, path)
    name = _SONAME.match(Path(path).name)
    call, version = _version(loaded, name.group(1) if name else "")
    if version is not None:
        task.tell("version", task.ask(call, version))
    task.tell("elsewhere", _elsewhere(path, searched))


def _load(task: _Task, path: str) -> Any:  # noqa: ANN401 - a library
    def load() -> Any:  # noqa: ANN401 - a library
        try:
            return ctypes.CDLL(path)
        except OSError as error:
            return task.fail("dlopen", str(error))

    loaded = task.ask("dlopen", load)
    task.tell("dlopen", path)
    return loaded


def _version(library: Any, name: str) -> tuple[str, Callable[[], str] | None]:  # noqa: ANN401
    """The call that tells a library's version without a GPU, and how to make it."""

    def numbers(call: str, count: int) -> list[int]:
        cells = [ctypes.c_int() for _ in range(count)]
        getattr(library, call)(*map(ctypes.byref, cells))
        return [cell.value for cell in cells]

    def properties(call: str) -> str:
        # `libraryPropertyType` of `library_types.h`: 0 major, 1 minor, 2 patch level.
        cells = [ctypes.c_int() for _ in range(3)]
        for which, cell in enumerate(cells):
            getattr(library, call)(which, ctypes.byref(cell))
        return ".".join(str(cell.value) for cell in cells)

    if name == "cudart":
        return "cudaRuntimeGetVersion", lambda: _cuda(numbers("cudaRuntimeGetVersion", 1)[0])
    if name == "nccl":
        return "ncclGetVersion", lambda: _nccl(numbers("ncclGetVersion", 1)[0])
    call = {"nvrtc": "nvrtcVersion", "nvJitLink": "nvJitLinkVersion"}.get(name)
    if call and hasattr(library, call):
        return call, lambda: ".".join(map(str, numbers(call, 2)))
    call = name + "GetProperty"
    return call, (lambda: properties(call)) if hasattr(library, call) else None


def _cuda(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _nccl(number: int) -> str:
    """`NCCL_VERSION` of `nccl.h`: 2.8 and before count the major version by thousands."""
    if number < 10000:  # noqa: PLR2004
        return f"{number // 1000}.{number % 1000 // 100}.{number % 100}"
    return f"{number // 10000}.{number % 10000 // 100}.{number % 100}"


def _elsewhere(path: str, searched: list[str]) -> list[str]:
    """What was loaded with a library from one of the folders."""
    folders = {os.path.realpath(folder) for folder in searched}
    folders.discard(os.path.realpath(Path(path).parent))
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    mapped = {Path(line.split(maxsplit=5)[-1]) for line in maps.splitlines() if "/" in line}
    return sorted(
        str(file)
        for file in mapped
        if str(file.parent) in folders
        and file.name.startswith(("libcu", "libnv", "libnccl"))
        and not file.name.startswith(_OF_DRIVER)
    )


def runtime(task: _Task, path: str) -> None:
    """Let the CUDA runtime allocate, copy to and fro, and fill memory on every GPU."""
    cuda = _load(task, path)
    cuda.cudaGetErrorName.restype = cuda.cudaGetErrorString.restype = ctypes.c_char_p
    cuda.cudaMalloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    cuda.cudaMemcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    cuda.cudaMemset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    cuda.cudaFree.argtypes = [ctypes.c_void_p]

    def call(task: _Task, name: str, *arguments: Any) -> None:  # noqa: ANN401 - C's
        code = task.ask(name, lambda: getattr(cuda, name)(*arguments))
        if code:
            words = (cuda.cudaGetErrorName(code), cuda.cudaGetErrorString(code))
            said = ": ".join((word or b"?").decode("utf-8", "replace") for word in words)
            task.fail(name, said, code)

    version = ctypes.c_int()
    call(task, "cudaRuntimeGetVersion", ctypes.byref(version))
    task.tell("cuda", _cuda(version.value))
    count = ctypes.c_int()
    call(task, "cudaGetDeviceCount", ctypes.byref(count))
    task.tell("count", count.value)
    for gpu in range(count.value):
        try:
            _use(task.on(gpu), gpu, call)
        except _OverError:
            continue


def _use(task: _Task, gpu: int, call: Callable[..., None]) -> None:
    numbers = [ctypes.c_int(), ctypes.c_int()]
    for attribute, number in zip((_MAJOR, _MINOR), numbers):  # noqa: B905 - Python 3.9 lacks `strict`
        call(task, "cudaDeviceGetAttribute", ctypes.byref(number), attribute, gpu)
    task.tell("capability", ".".join(str(number.value) for number in numbers))
    call(task, "cudaSetDevice", gpu)
    memory = ctypes.c_void_p()
    call(task, "cudaMalloc", ctypes.byref(memory), _BYTES)
    given = bytes(range(256)) * (_BYTES // 256)
    back = ctypes.create_string_buffer(_BYTES)
    call(task, "cudaMemcpy", memory, given, _BYTES, _TO_DEVICE)
    call(task, "cudaMemcpy", back, memory, _BYTES, _TO_HOST)
    _compare(task, "cudaMemcpy", given, back.raw)
    half = _BYTES // 2
    call(task, "cudaMemset", memory, 0xA5, half)
    call(task, "cudaMemcpy", back, memory, _BYTES, _TO_HOST)
    _compare(task, "cudaMemset", b"\xa5" * half + given[half:], back.raw)
    call(task, "cudaFree", memory)
    task.tell("ran", "filled 1 MiB and copied it to and fro")


def _compare(task: _Task, call: str, wanted: bytes, got: bytes) -> None:
    if wanted != got:
        at = next(at for at in range(len(wanted)) if wanted[at] != got[at])
        words = f"byte {at} after `{call}` is `{got[at]}`, and has to be `{wanted[at]}`"
        task.tell("wrong", words)
        raise _OverError


def module(task: _Task, name: str, *, on_gpu: bool) -> None:
    """Import a module, and use it on the GPUs."""
    found = task.ask("import", lambda: importlib.import_module(name))
    task.tell("version", str(getattr(found, "__version__", "")))
    if name == "torch":
        task.tell("cuda", found.version.cuda)
    if not on_gpu:
        return
    if name == "torch":
        if found.version.cuda is not None:
            _torch(task, found)
    elif name == "cupy":
        _cupy(task, found)
    else:
        _tensorrt(task.on(0), found)


def _torch(task: _Task, torch: Any) -> None:  # noqa: ANN401 - a module
    count = task.ask("torch.cuda.device_count", torch.cuda.device_count)
    if not count:
        # Says why there is none.
        task.ask("torch.cuda.init", torch.cuda.init)
    task.tell("count", count)
    # Whole numbers, and sums that single precision and TF32 hold exactly.
    matrix = (torch.arange(_SIDE * _SIDE, dtype=torch.float32) % 7).reshape(_SIDE, _SIDE)

    def multiply(gpu: int) -> bool:
        there = matrix.to(f"cuda:{gpu}")
        return bool(torch.equal((there @ there).cpu(), matrix @ matrix))

    for gpu in range(count):
        _multiply(task.on(gpu), multiply, gpu, torch.cuda.get_device_capability)


def _cupy(task: _Task, cupy: Any) -> None:  # noqa: ANN401 - a module
    count = task.ask("cupy.cuda.runtime.getDeviceCount", cupy.cuda.runtime.getDeviceCount)
    task.tell("count", count)
    numpy = sys.modules["numpy"]
    matrix = (numpy.arange(_SIDE * _SIDE, dtype="float32") % 7).reshape(_SIDE, _SIDE)

    def multiply(gpu: int) -> bool:
        with cupy.cuda.Device(gpu):
            there = cupy.asarray(matrix)
            return bool(numpy.array_equal(cupy.asnumpy(there @ there), matrix @ matrix))

    for gpu in range(count):
        _multiply(task.on(gpu), multiply, gpu, lambda gpu: cupy.cuda.Device(gpu).compute_capability)


def _multiply(
    task: _Task, multiply: Callable[[int], bool], gpu: int, capability: Callable[[int], Any]
) -> None:
    try:
        found = task.ask("capability", lambda: capability(gpu))
        # PyTorch tells `(9, 0)`, CuPy `90`.
        major, minor = found if isinstance(found, tuple) else (found[:-1], found[-1])
        task.tell("capability", f"{major}.{minor}")
        if not task.ask("matmul", lambda: multiply(gpu)):
            task.tell("wrong", "a product of matrices is not what the CPU makes it")
            return
        task.tell("ran", "multiplied matrices as the CPU does")
    except _OverError:
        return


def _tensorrt(task: _Task, tensorrt: Any) -> None:  # noqa: ANN401 - a module
    heard: list[str] = []

    class Logger(tensorrt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)

        def log(self, severity: Any, words: str) -> None:  # noqa: ANN401 - TensorRT's
            if severity in (tensorrt.ILogger.INTERNAL_ERROR, tensorrt.ILogger.ERROR):
                heard.append(words)

    logger = task.ask("ILogger", Logger)
    _KEPT.append(logger)

    def make() -> None:
        try:
            _KEPT.append(tensorrt.Runtime(logger))
        except Exception as error:  # noqa: BLE001 - TensorRT's own words say more
            heard.append(f"{type(error).__name__}: {error}")
        # A runtime that failed is an object too.
        if heard or _KEPT[-1] is None:
            task.fail("Runtime", heard[0] if heard else "there is none")

    task.ask("Runtime", make)
    task.tell("ran", "made a runtime")


def main() -> None:
    """Prepare the process, do the one task, and end at once, without what may hang at the end."""
    asked = json.loads(sys.argv[1])
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # Whoever asked may be gone before its limit is reached.
    signal.alarm(int(asked.pop("seconds")) + 2)
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What libraries print must not get between the lines.
    output = os.dup(1)
    os.dup2(2, 1)

    def say(line: dict[str, Any]) -> None:
        os.write(output, json.dumps(line).encode() + b"\n")

    tasks: dict[str, Callable[..., None]] = {
        "survey": survey,
        "driver": driver,
        "library": library,
        "runtime": runtime,
        "module": module,
    }
    code = 0
    try:
        tasks[asked.pop("task")](_Task(say), **asked)
    except _OverError:
        pass
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is told of
        say({"failed": f"{type(error).__name__}: {error}"})
        code = 1
    os._exit(code)


if __name__ == "__main__":
    main()
