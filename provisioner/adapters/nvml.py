"""The NVIDIA driver and its GPUs, asked through NVML (nvidia-ml-py) in a child process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LIBRARY: Final = "libnvidia-ml.so.1"
_LIBCUDA: Final = "libcuda.so.1"
_MOST_GPUS: Final = 1024
_MOST_PARTS: Final = 64


def ask(
    nvml: Any,  # noqa: ANN401 - a module
    say: Callable[[dict[str, Any]], None],
    *,
    before_cuda: Callable[[], None] = lambda: None,
    libcuda: Callable[[], str | None] = lambda: None,
) -> None:
    """Ask for the driver's versions and every GPU, and say each answer.

    `nvml` is `pynvml`, or something with the same functions; `libcuda` names the file that
    NVML asked for the CUDA version. NVML is not shut down: the process ends, and that is one
    call less that may hang.
    """
    asker = _Asker(nvml, say)
    if not asker.ask("nvmlInit", lambda: nvml.nvmlInit() and None):
        return
    asker.ask("nvmlSystemGetDriverVersion", nvml.nvmlSystemGetDriverVersion)
    before_cuda()
    if asker.ask("nvmlSystemGetCudaDriverVersion_v2", nvml.nvmlSystemGetCudaDriverVersion_v2):
        say({"libcuda": libcuda()})
    else:
        asker.ask("nvmlSystemGetCudaDriverVersion", nvml.nvmlSystemGetCudaDriverVersion)
    if asker.ask("nvmlDeviceGetCount", nvml.nvmlDeviceGetCount):
        for index in range(min(asker.value, _MOST_GPUS)):
            _ask_gpu(asker, nvml, index)


def _ask_gpu(asker: _Asker, nvml: Any, index: int) -> None:  # noqa: ANN401
    where = {"gpu": index}
    handle = None

    def find() -> None:
        nonlocal handle
        handle = nvml.nvmlDeviceGetHandleByIndex(index)

    if not asker.ask("nvmlDeviceGetHandleByIndex", find, **where):
        return
    for call, get in (
        ("nvmlDeviceGetCudaComputeCapability", nvml.nvmlDeviceGetCudaComputeCapability),
        ("nvmlDeviceGetUUID", nvml.nvmlDeviceGetUUID),
        ("nvmlDeviceGetName", nvml.nvmlDeviceGetName),
        ("nvmlDeviceGetMemoryInfo", lambda gpu: int(nvml.nvmlDeviceGetMemoryInfo(gpu).total)),
        ("nvmlDeviceGetBrand", nvml.nvmlDeviceGetBrand),
        ("nvmlDeviceGetPciInfo", lambda gpu: _text(nvml.nvmlDeviceGetPciInfo(gpu).busId)),
    ):
        asker.ask(call, partial(get, handle), **where)
    on = asker.ask("nvmlDeviceGetMigMode", lambda: nvml.nvmlDeviceGetMigMode(handle), **where)
    if not (on and asker.value[0]):
        return
    call = "nvmlDeviceGetMaxMigDeviceCount"
    if asker.ask(call, lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(handle), **where):
        for part in range(min(asker.value, _MOST_PARTS)):
            asker.ask(
                "nvmlDeviceGetMigDeviceHandleByIndex",
                partial(_find_part, nvml, handle, part),
                **where,
                part=part,
            )


def _find_part(nvml: Any, handle: Any, part: int) -> None:  # noqa: ANN401
    nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, part)


class _Asker:
    """Says each call before it is made, and its answer."""

    def __init__(self, nvml: Any, say: Callable[[dict[str, Any]], None]) -> None:  # noqa: ANN401
        self._nvml = nvml
        self._say = say
        self.value: Any = None

    def ask(self, call: str, get: Callable[[], Any], **where: int) -> bool:
        """Whether there was an answer, which is then `value`."""
        self._say({"call": call, **where})
        try:
            self.value = _plain(get())
        except self._nvml.NVMLError as error:
            answer = {"error": int(error.value), "said": str(error)}
        except ValueError as error:
            # pynvml decodes names, and a broken one must not hide the rest.
            answer = {"said": str(error)}
        else:
            self._say({"call": call, **where, "value": self.value})
            return True
        self._say({"call": call, **where, **answer})
        return False


def _plain(value: Any) -> Any:  # noqa: ANN401
    return _text(value) if isinstance(value, bytes) else value


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def main(arguments: list[str]) -> None:
    """Run in the child: the time limit, and the candidates for each of the two libraries."""
    import json

    from provisioner.adapters._library import finish, load, loaded_path, start

    seconds, candidates, of_cuda = json.loads(arguments[0])
    say = start(seconds)

    def before_cuda() -> None:
        paths = [path for path in of_cuda if path != _LIBCUDA]
        if of_cuda[:1] != [_LIBCUDA] and paths:
            # What NVML loads by name is then what is loaded already.
            say({"call": "dlopen"})
            load(paths)

    def libcuda() -> str | None:
        found = loaded_path("libcuda.so")
        if found is None and _LIBCUDA in of_cuda:
            say({"call": "dlopen"})
            load([_LIBCUDA])
            found = loaded_path("libcuda.so")
        return found

    try:
        say({"call": "dlopen"})
        why = load(candidates)
        if why is not None:
            say({"call": "nvmlInit", "error": 12, "said": why})
        else:
            say({"library": loaded_path("libnvidia-ml.so")})
            import pynvml

            ask(pynvml, say, before_cuda=before_cuda, libcuda=libcuda)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told of
        finish(say, error)
    finish(say)
