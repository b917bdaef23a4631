"""What the probes of a machine found, as they found it: texts, numbers and names.

Nothing is judged here; `detection` does that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.core.host import Compat, Platform

Ended = Literal["finished", "timeout", "crashed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What one call of a library answered: a value, or an error.

    `error` is the library's number for it; None with `said`: the answer could not be read.
    `gpu` and `part` are the indexes of the GPU and of its MIG device that were asked for.
    """

    call: str
    gpu: int | None = None
    part: int | None = None
    value: Any = None
    error: int | None = None
    said: str | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no value."""
        return self.error is not None or self.said is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a library answered in a child process, up to where that ended.

    `waiting` is the call without an answer, `detail` what ended a process that crashed.
    `library` is the file that was loaded, `libcuda` the one that came with it.
    """

    answers: tuple[Answer, ...] = ()
    ended: Ended = "finished"
    waiting: str | None = None
    detail: str | None = None
    seconds: float = 0
    library: str | None = None
    libcuda: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PciGpu:
    """An NVIDIA display or 3D controller on the PCI bus, and the driver that has it."""

    address: str
    driver: str | None = None

    @property
    def is_driven(self) -> bool:
        """Whether NVIDIA's kernel module has it."""
        return self.driver == "nvidia"


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownGpu:
    """A folder of `/proc/driver/nvidia/gpus`, and the text of its file `information`, if read."""

    address: str
    information: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """What files say; the names are those under `/dev`.

    `nodes` are the device nodes of GPUs and of the driver's control, `blocked` those of them
    that this user may not open.
    """

    module_version: str | None = None
    version: str | None = None
    gpus: tuple[KnownGpu, ...] = ()
    nodes: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    pci: tuple[PciGpu, ...] = ()
    dxg: bool = False
    nouveau: bool = False

    @property
    def loaded(self) -> bool:
        """Whether the driver's kernel module is loaded."""
        told = self.module_version is not None or self.version is not None
        return told or any(card.is_driven for card in self.pci)

    @property
    def gpu_nodes(self) -> tuple[str, ...]:
        """The device nodes of GPUs alone."""
        return tuple(name for name in self.nodes if name.removeprefix("nvidia").isdigit())

    @property
    def open_nodes(self) -> tuple[str, ...]:
        """The device nodes of GPUs that this user may open."""
        return tuple(name for name in self.gpu_nodes if name not in self.blocked)

    @property
    def reachable(self) -> bool:
        """Whether a library could reach a driver, as far as files tell."""
        return bool(self.gpu_nodes) or self.dxg


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What a command printed, and how it ended; None: it had to be ended."""

    text: str
    code: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Smi:
    """What `nvidia-smi` printed: rows of `fields`, and its table with the banner."""

    path: str
    fields: tuple[str, ...]
    rows: Said | None = None
    banner: Said | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All of it; None: that probe was not needed.

    `note` is what the `libcuda.so.1` that NVML uses says of itself, `information` how the
    driver's files about its GPUs were read.
    """

    platform: Platform
    files: Files
    nvml: Asked | None = None
    libcuda: Asked | None = None
    smi: Smi | None = None
    note: Compat | None = None
    information: Asked | None = None


def read_lines(lines: Iterable[Mapping[str, Any]]) -> Asked:
    """Make sense of what a probe wrote.

    A line without `value`, `error` and `said` tells of a call that begins. What is of no
    known form is passed over: a library may print too.
    """
    answers: list[Answer] = []
    waiting = detail = None
    paths: dict[str, str] = {}
    for line in lines:
        call, gpu = line.get("call"), _integer(line.get("gpu"))
        part, said = _integer(line.get("part")), _text(line.get("said"))
        if isinstance(call, str):
            if not {"value", "error", "said"} & line.keys():
                waiting = call if gpu is None else f"{call} of GPU {gpu}"
                continue
            waiting = None
            answers.append(
                Answer(
                    call=call,
                    gpu=gpu,
                    part=part,
                    value=line.get("value"),
                    error=_integer(line.get("error")),
                    said=said,
                )
            )
        detail = _text(line.get("failed")) or detail
        paths |= {key: str(line[key]) for key in ("library", "libcuda") if line.get(key)}
    return Asked(
        answers=tuple(answers),
        waiting=waiting,
        detail=detail,
        library=paths.get("library"),
        libcuda=paths.get("libcuda"),
    )


def split_lines(output: bytes) -> tuple[Mapping[str, Any], ...]:
    """The lines that a probe wrote as JSON; others, and an unfinished last one, are left out."""
    found = []
    for line in output.split(b"\n"):
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict):
            found.append(data)
    return tuple(found)


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
