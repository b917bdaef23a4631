"""From evidence to a host: every hard case as data, and what holds for any evidence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.detection import combine
from provisioner.core.evidence import (
    Answer,
    Asked,
    Evidence,
    Files,
    KnownGpu,
    PciGpu,
    Said,
    Smi,
    read_lines,
    split_lines,
)
from provisioner.core.findings import KINDS
from provisioner.core.host import Compat, Host, Platform
from tests.core.examples import LINUX, version
from tests.simulators.roots import CLOSED_MODULE, INFORMATION, OPEN_MODULE

if TYPE_CHECKING:
    from provisioner.core.host import GpuStatus, PlatformClass

INIT = "nvmlInit"
VERSION = "nvmlSystemGetDriverVersion"
CUDA = "nvmlSystemGetCudaDriverVersion_v2"
OLD_CUDA = "nvmlSystemGetCudaDriverVersion"
COUNT = "nvmlDeviceGetCount"
HANDLE = "nvmlDeviceGetHandleByIndex"
CAPABILITY = "nvmlDeviceGetCudaComputeCapability"
FIELDS: Final = (
    *("index", "uuid", "name", "driver_version", "memory.total", "pci.bus_id", "compute_cap"),
)
NODES: Final = ("nvidia0", "nvidiactl")


def platform(kind: PlatformClass = "linux", container: str | None = None) -> Platform:
    return replace(LINUX, kind=kind, container=container)


def failed(call: str, error: int, said: str = "Unknown Error", gpu: int | None = None) -> Answer:
    return Answer(call=call, gpu=gpu, error=error, said=said)


def card(index: int, capability: str | None, name: str = "NVIDIA H100") -> tuple[Answer, ...]:
    """The answers about one GPU that works."""
    told = [int(part) for part in (capability or "0.0").split(".")]
    return (
        Answer(call=HANDLE, gpu=index),
        failed(CAPABILITY, 3, "Not Supported", index)
        if capability is None
        else Answer(call=CAPABILITY, gpu=index, value=told),
        Answer(call="nvmlDeviceGetUUID", gpu=index, value=f"GPU-{index}"),
        Answer(call="nvmlDeviceGetName", gpu=index, value=name),
        Answer(call="nvmlDeviceGetBrand", gpu=index, value=14),
        Answer(call="nvmlDeviceGetPciInfo", gpu=index, value=f"00000000:0{index + 1}:00.0"),
    )


def nvml(
    driver: str = "580.95.05", cuda: int = 13000, *cards: tuple[Answer, ...], **how: object
) -> Asked:
    """NVML that answers all that it is asked."""
    answers = (
        Answer(call=INIT),
        Answer(call=VERSION, value=driver),
        Answer(call=CUDA, value=cuda),
        Answer(call=COUNT, value=len(cards)),
        *(answer for one in cards for answer in one),
    )
    return Asked(answers=answers, seconds=5, **how)  # type: ignore[arg-type]  # its own fields


def refused(error: int, said: str, **how: object) -> Asked:
    """NVML that does not start."""
    return Asked(answers=(failed(INIT, error, said),), seconds=5, **how)  # type: ignore[arg-type]


MISSING: Final = refused(12, "libnvidia-ml.so.1: cannot open shared object file: No such file")
NOT_LOADED: Final = refused(9, "Driver Not Loaded")


def loaded(driver: str = "580.95.05", **more: object) -> Files:
    """Files of a machine whose kernel module is loaded."""
    text = OPEN_MODULE.format(version=driver)
    return Files(module_version=f"{driver}\n", version=text, **more)  # type: ignore[arg-type]


def smi(rows: str, banner: str = "", code: int | None = 0) -> Smi:
    return Smi(
        path="/usr/bin/nvidia-smi",
        fields=FIELDS,
        rows=Said(text=rows, code=code),
        banner=Said(text=banner, code=code),
    )


@dataclass(frozen=True)
class Case:
    """A machine's evidence, and the host that it has to become."""

    name: str
    evidence: Evidence
    driver: tuple[str | None, str | None] | None
    capabilities: tuple[str | None, ...]
    codes: tuple[str, ...] = ()
    broken: bool = False
    sources: dict[str, str] = field(default_factory=dict)
    says: tuple[str, ...] = ()


def known(*addresses: str, **information: str) -> tuple[KnownGpu, ...]:
    return tuple(
        KnownGpu(address=address, information=information.get("text")) for address in addresses
    )


CASES: Final = (
    Case(
        "V100 and H100 on 580",
        Evidence(
            platform=LINUX,
            files=loaded(),
            nvml=nvml("580.95.05", 13000, card(0, "7.0"), card(1, "9.0")),
        ),
        ("580.95.05", "13.0"),
        ("7.0", "9.0"),
        sources={"driver": "nvml", "cuda": "nvml", "gpus": "nvml"},
    ),
    Case(
        "WSL2 with two GPUs and Windows' numbering",
        Evidence(
            platform=platform("wsl2"),
            files=Files(dxg=True),
            nvml=nvml(
                "572.60",
                12080,
                card(0, "8.9"),
                card(1, "8.6"),
                libcuda="/usr/lib/wsl/lib/libcuda.so.1.1",
            ),
        ),
        ("572.60", "12.8"),
        ("8.9", "8.6"),
    ),
    Case(
        "WSL2 where Windows has no NVIDIA driver",
        Evidence(platform=platform("wsl2"), files=Files(dxg=True), nvml=MISSING),
        None,
        (),
        ("no-gpu",),
    ),
    Case(
        "MIG slice in a container, whose parent hides its memory",
        Evidence(
            platform=platform(container="docker"),
            files=loaded(nodes=NODES),
            nvml=nvml(
                "580.95.05",
                13000,
                (
                    *card(0, "9.0"),
                    failed("nvmlDeviceGetMemoryInfo", 4, "Insufficient Permissions", 0),
                    Answer(call="nvmlDeviceGetMigMode", gpu=0, value=[1, 1]),
                    Answer(call="nvmlDeviceGetMaxMigDeviceCount", gpu=0, value=7),
                    Answer(call="nvmlDeviceGetMigDeviceHandleByIndex", gpu=0, part=0),
                    *(
                        replace(
                            failed("nvmlDeviceGetMigDeviceHandleByIndex", 6, "Not Found", 0),
                            part=part,
                        )
                        for part in range(1, 7)
                    ),
                ),
            ),
        ),
        ("580.95.05", "13.0"),
        ("9.0",),
    ),
    Case(
        "MIG mode without an instance",
        Evidence(
            platform=LINUX,
            files=loaded(nodes=NODES),
            nvml=nvml(
                "580.95.05",
                13000,
                (
                    *card(0, "9.0"),
                    Answer(call="nvmlDeviceGetMigMode", gpu=0, value=[1, 1]),
                    Answer(call="nvmlDeviceGetMaxMigDeviceCount", gpu=0, value=7),
                    *(
                        replace(
                            failed("nvmlDeviceGetMigDeviceHandleByIndex", 6, "Not Found", 0),
                            part=part,
                        )
                        for part in range(7)
                    ),
                ),
            ),
        ),
        ("580.95.05", "13.0"),
        ("9.0",),
        ("no-mig-instance",),
    ),
    Case(
        "nvidia-smi prints its failure on stdout",
        Evidence(
            platform=LINUX,
            files=Files(),
            nvml=refused(18, "RM has detected an NVML/RM version mismatch."),
            smi=smi(
                "Failed to initialize NVML: Driver/library version mismatch\n"
                "NVML library version: 550.54",
                "CUDA Version: 12.4",
                18,
            ),
        ),
        None,
        (),
        ("version-mismatch",),
        broken=True,
    ),
    Case(
        "nvidia-smi has a row of [N/A] beside one of 8.0",
        Evidence(
            platform=LINUX,
            files=loaded("570.124.06", nodes=("nvidia0", "nvidia1", "nvidiactl")),
            nvml=Asked(ended="crashed", detail="signal SIGSEGV", seconds=5),
            smi=smi(
                "0, GPU-a, NVIDIA A100, 570.124.06, 81920, 00000000:01:00.0, 8.0\n"
                "1, GPU-b, GRID V100, 570.124.06, [N/A], 00000000:02:00.0, [N/A]\n",
                "Driver Version: 570.124.06   CUDA Version: 12.8",
            ),
        ),
        ("570.124.06", "12.8"),
        ("8.0", None),
        ("probe-crashed",),
        sources={"driver": "/proc/driver/nvidia/version", "gpus": "nvidia-smi"},
    ),
    Case(
        "two rows of nvidia-smi are two GPUs",
        Evidence(
            platform=platform("wsl2"),
            files=Files(dxg=True),
            nvml=MISSING,
            smi=smi(
                "0, GPU-a, NVIDIA RTX 4090, 572.60, 24564, 00000000:01:00.0, 8.9\n"
                "1, GPU-b, NVIDIA RTX 3090, 572.60, 24576, 00000000:02:00.0, 8.6\n",
                "NVIDIA-SMI 570.65   Driver Version: 572.60   CUDA Version: 12.8",
            ),
        ),
        ("572.60", "12.8"),
        ("8.9", "8.6"),
        sources={"driver": "nvidia-smi", "cuda": "nvidia-smi", "gpus": "nvidia-smi"},
    ),
    Case(
        "the banner of R610",
        Evidence(
            platform=LINUX,
            files=Files(),
            nvml=MISSING,
            smi=smi(
                "0, GPU-a, NVIDIA H100, 610.57.04, 81559, 00000000:01:00.0, 9.0\n",
                "| NVIDIA-SMI 610.57.04  KMD Version: 610.57.04  CUDA UMD Version: 13.3 |",
            ),
        ),
        ("610.57.04", "13.3"),
        ("9.0",),
    ),
    Case(
        "no devices were found, says nvidia-smi without an error",
        Evidence(platform=LINUX, files=Files(), nvml=MISSING, smi=smi("No devices were found\n")),
        None,
        (),
        ("no-gpu",),
    ),
    Case(
        "a build container without a GPU",
        Evidence(platform=platform(container="docker"), files=Files(), nvml=MISSING),
        None,
        (),
        ("no-gpu",),
    ),
    Case(
        "a container without its GPUs on a host that has them",
        Evidence(
            platform=platform(container="docker"),
            files=loaded("570.124.06", pci=(PciGpu(address="0000:01:00.0", driver="nvidia"),)),
            nvml=MISSING,
        ),
        ("570.124.06", None),
        (),
        ("driver-no-device",),
        sources={"driver": "/proc/driver/nvidia/version"},
        says=("`570.124.06`",),
    ),
    Case(
        "a container with `compute` and no `utility`",
        Evidence(
            platform=platform(container="docker"),
            files=loaded("570.124.06", nodes=NODES, gpus=known("0000:01:00.0")),
            nvml=MISSING,
            libcuda=Asked(answers=(Answer(call="cuDriverGetVersion", value=12080),)),
        ),
        ("570.124.06", "12.8"),
        (None,),
        ("driver-no-library",),
        broken=True,
        sources={"cuda": "libcuda", "gpus": "/proc/driver/nvidia/gpus"},
        says=("`/dev/nvidia0`",),
    ),
    Case(
        "a library that is there and cannot be loaded says why",
        Evidence(
            platform=LINUX,
            files=loaded(nodes=NODES),
            nvml=refused(12, "libnvidia-ml.so.1: wrong ELF class: ELFCLASS32"),
        ),
        ("580.95.05", None),
        (None,),
        ("driver-no-library",),
        broken=True,
        says=("wrong ELF class",),
    ),
    Case(
        "a container with `utility` and no `compute`",
        Evidence(
            platform=platform(container="docker"),
            files=loaded(nodes=NODES),
            nvml=Asked(
                answers=(
                    Answer(call=INIT),
                    Answer(call=VERSION, value="580.95.05"),
                    failed(CUDA, 12, "NVML Shared Library Not Found"),
                    Answer(call=OLD_CUDA, value=13000),
                    Answer(call=COUNT, value=1),
                    *card(0, "9.0"),
                )
            ),
        ),
        ("580.95.05", "13.0"),
        ("9.0",),
        ("driver-no-compute-lib",),
    ),
    Case(
        "an old driver without the newer question",
        Evidence(
            platform=LINUX,
            files=loaded("470.82.01"),
            nvml=Asked(
                answers=(
                    Answer(call=INIT),
                    Answer(call=VERSION, value="470.82.01"),
                    failed(CUDA, 13, "Function Not Found"),
                    Answer(call=OLD_CUDA, value=11040),
                    Answer(call=COUNT, value=1),
                    *card(0, "3.7"),
                )
            ),
        ),
        ("470.82.01", "11.4"),
        ("3.7",),
    ),
    Case(
        "NVML tells no CUDA version, libcuda does",
        Evidence(
            platform=LINUX,
            files=loaded(),
            nvml=Asked(
                answers=(
                    Answer(call=INIT),
                    Answer(call=VERSION, value="580.95.05"),
                    failed(CUDA, 999),
                    failed(OLD_CUDA, 999),
                    Answer(call=COUNT, value=1),
                    *card(0, "9.0"),
                )
            ),
            libcuda=Asked(answers=(Answer(call="cuDriverGetVersion", value=13000),)),
        ),
        ("580.95.05", "13.0"),
        ("9.0",),
        sources={"driver": "nvml", "cuda": "libcuda", "gpus": "nvml"},
    ),
    Case(
        "nobody tells the CUDA version",
        Evidence(
            platform=LINUX,
            files=loaded(),
            nvml=Asked(
                answers=(
                    Answer(call=INIT),
                    Answer(call=VERSION, value="580.95.05"),
                    failed(CUDA, 999),
                    failed(OLD_CUDA, 999, "Unknown Error"),
                    Answer(call=COUNT, value=1),
                    *card(0, "9.0"),
                )
            ),
        ),
        ("580.95.05", None),
        ("9.0",),
        ("driver-unreadable",),
    ),
    Case(
        "nouveau is loaded",
        Evidence(
            platform=LINUX,
            files=Files(pci=(PciGpu(address="0000:01:00.0", driver="nouveau"),), nouveau=True),
            nvml=NOT_LOADED,
        ),
        None,
        (None,),
        ("gpu-no-driver",),
        sources={"gpus": "/sys/bus/pci/devices"},
        says=("nouveau",),
    ),
    Case(
        "a GPU without any driver",
        Evidence(platform=LINUX, files=Files(pci=(PciGpu(address="0000:01:00.0"),)), nvml=MISSING),
        None,
        (None,),
        ("gpu-no-driver",),
    ),
    Case(
        "the driver is loaded, and all GPUs are given to virtual machines",
        Evidence(
            platform=LINUX,
            files=loaded(
                nodes=("nvidiactl",), pci=(PciGpu(address="0000:01:00.0", driver="vfio-pci"),)
            ),
            nvml=nvml(),
        ),
        ("580.95.05", "13.0"),
        (),
        ("driver-no-device",),
        says=("`vfio-pci`",),
    ),
    Case(
        "the driver was updated without a restart",
        Evidence(
            platform=LINUX,
            files=loaded("570.124.06", nodes=NODES),
            nvml=refused(
                18,
                "RM has detected an NVML/RM version mismatch.",
                library="/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.95.05",
            ),
        ),
        ("570.124.06", None),
        (None,),
        ("version-mismatch",),
        broken=True,
        says=("`580.95.05`", "`570.124.06`"),
    ),
    Case(
        "NVML and the kernel name different drivers",
        Evidence(
            platform=LINUX,
            files=loaded("570.124.06"),
            nvml=nvml("580.95.05", 13000, card(0, "9.0")),
        ),
        ("580.95.05", "13.0"),
        ("9.0",),
        ("version-mismatch",),
        broken=True,
        says=("`580.95.05`", "`570.124.06`"),
    ),
    Case(
        "a container that lost access to its GPUs",
        Evidence(
            platform=platform(container="docker"),
            files=loaded(nodes=NODES),
            nvml=refused(999, "Unknown Error"),
        ),
        ("580.95.05", None),
        (None,),
        ("nvml-failed",),
        broken=True,
    ),
    Case(
        "device nodes that this user may not open",
        Evidence(
            platform=LINUX,
            files=loaded(nodes=NODES, blocked=("nvidiactl",)),
            nvml=refused(4, "Insufficient Permissions"),
        ),
        ("580.95.05", None),
        (None,),
        ("nvml-failed",),
        broken=True,
    ),
    Case(
        "a loaded driver with its nodes, of which NVML says that it is not loaded",
        Evidence(platform=LINUX, files=loaded(nodes=NODES), nvml=NOT_LOADED),
        ("580.95.05", None),
        (None,),
        ("nvml-failed",),
        broken=True,
    ),
    Case(
        "a module that was unloaded and left its nodes behind",
        Evidence(
            platform=LINUX,
            files=Files(nodes=NODES),
            nvml=NOT_LOADED,
            libcuda=Asked(answers=(Answer(call="cuDriverGetVersion", value=12080),)),
        ),
        None,
        (None,),
        ("nvml-failed",),
        broken=True,
        sources={"gpus": "/dev"},
        says=("`/dev/nvidia0`",),
    ),
    Case(
        "a module that was unloaded, whose card PCI shows",
        Evidence(
            platform=LINUX,
            files=Files(nodes=NODES, pci=(PciGpu(address="0000:01:00.0"),)),
            nvml=NOT_LOADED,
            libcuda=Asked(answers=(Answer(call="cuDriverGetVersion", value=12080),)),
        ),
        None,
        (None,),
        ("gpu-no-driver",),
        sources={"gpus": "/sys/bus/pci/devices"},
        says=("`0000:01:00.0`",),
    ),
    Case(
        "a card that `nvidia` has, though no file tells the module's version",
        Evidence(
            platform=LINUX,
            files=Files(nodes=NODES, pci=(PciGpu(address="0000:01:00.0", driver="nvidia"),)),
            nvml=NOT_LOADED,
        ),
        (None, None),
        (None,),
        ("nvml-failed", "driver-unreadable"),
        broken=True,
    ),
    Case(
        "a loaded module without nodes, of which NVML says that it is not loaded",
        Evidence(platform=LINUX, files=loaded(), nvml=NOT_LOADED),
        ("580.95.05", None),
        (),
        ("driver-no-device",),
    ),
    Case(
        "WSL2 whose own library cannot reach the driver of Windows",
        Evidence(
            platform=platform("wsl2"),
            files=Files(dxg=True),
            nvml=replace(NOT_LOADED, library="/usr/lib/wsl/lib/libnvidia-ml.so.1"),
            libcuda=Asked(answers=(Answer(call="cuDriverGetVersion", value=12080),)),
        ),
        None,
        (),
        ("nvml-failed",),
        broken=True,
    ),
    Case(
        "WSL2 with a library that is not of Windows",
        Evidence(
            platform=platform("wsl2"),
            files=Files(dxg=True),
            nvml=replace(NOT_LOADED, library="/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"),
            libcuda=Asked(answers=(Answer(call="cuDriverGetVersion", value=12080),)),
        ),
        None,
        (),
        ("no-gpu",),
    ),
    Case(
        "WSL2 whose libraries are damaged",
        Evidence(
            platform=platform("wsl2"),
            files=Files(dxg=True),
            nvml=refused(12, "/usr/lib/wsl/lib/libnvidia-ml.so.1: file too short"),
        ),
        None,
        (),
        ("driver-no-library",),
        broken=True,
        says=("`/dev/dxg`", "file too short"),
    ),
    Case(
        "WSL2 whose libcuda is damaged and whose NVML is missing",
        Evidence(
            platform=platform("wsl2"),
            files=Files(dxg=True),
            nvml=MISSING,
            libcuda=Asked(
                answers=(Answer(call="cuDriverGetVersion", said="libcuda.so.1: file too short"),)
            ),
        ),
        None,
        (),
        ("driver-no-library",),
        broken=True,
    ),
    *(
        Case(
            f"a loaded driver that tells nothing, of which NVML says {error.answers[0].said}",
            Evidence(
                platform=LINUX,
                files=Files(
                    version=text,
                    module_version=text,
                    pci=(PciGpu(address="0000:01:00.0", driver=bound),),
                ),
                nvml=error,
            ),
            (None, None),
            (),
            ("nvml-failed", "driver-unreadable"),
            broken=True,
            says=("`0000:01:00.0`",),
        )
        for error, text, bound in (
            (MISSING, "garbage", None),
            (NOT_LOADED, "\x00\xff", "nvidia"),
        )
    ),
    Case(
        "a loaded driver that tells nothing, and a GPU that is another driver's",
        Evidence(
            platform=LINUX,
            files=Files(
                version="garbage", pci=(PciGpu(address="0000:01:00.0", driver="vfio-pci"),)
            ),
            nvml=MISSING,
        ),
        (None, None),
        (),
        ("driver-unreadable", "driver-no-device"),
    ),
    Case(
        "a Jetson whose NVML asks for the module of other GPUs",
        Evidence(
            platform=platform("jetson"),
            files=Files(),
            nvml=NOT_LOADED,
            libcuda=Asked(answers=(Answer(call="cuDriverGetVersion", value=11040),)),
        ),
        (None, "11.4"),
        (),
        ("jetson", "gpus-unknown"),
    ),
    Case(
        "NVML counts no GPU though `nvidia` has one that does not start",
        Evidence(
            platform=LINUX,
            files=loaded(
                nodes=NODES,
                gpus=known("0000:01:00.0"),
                pci=(PciGpu(address="0000:01:00.0", driver="nvidia"),),
            ),
            nvml=nvml(),
        ),
        ("580.95.05", "13.0"),
        (),
        ("gpus-unreadable",),
        broken=True,
        says=("`0000:01:00.0`",),
    ),
    *(
        Case(
            f"NVML counts no GPU {why}",
            Evidence(
                platform=where,
                files=loaded(
                    pci=(PciGpu(address="0000:01:00.0", driver=bound),),
                    nodes=nodes,
                    blocked=blocked,
                ),
                nvml=nvml(),
            ),
            ("580.95.05", "13.0"),
            (),
            ("driver-no-device",),
        )
        for why, where, bound, nodes, blocked in (
            ("in a container", platform(container="docker"), "nvidia", NODES, ()),
            ("of which none has a node", LINUX, "nvidia", ("nvidiactl",), ()),
            ("that a job may use", LINUX, "nvidia", NODES, ("nvidia0",)),
            ("that is the driver's", LINUX, "vfio-pci", NODES, ()),
        )
    ),
    Case(
        "one GPU without permission",
        Evidence(
            platform=LINUX,
            files=loaded(),
            nvml=nvml(
                "580.95.05",
                13000,
                (failed(HANDLE, 4, "Insufficient Permissions", 0),),
                card(1, "9.0"),
            ),
        ),
        ("580.95.05", "13.0"),
        (None, "9.0"),
        ("no-permission",),
    ),
    *(
        Case(
            f"one GPU with error {error}",
            Evidence(
                platform=LINUX,
                files=loaded(),
                nvml=nvml("580.95.05", 13000, card(0, "9.0"), (failed(HANDLE, error, "x", 1),)),
            ),
            ("580.95.05", "13.0"),
            ("9.0", None),
            (code,),
        )
        for error, code in (
            (15, "gpu-lost"),
            (16, "gpu-lost"),
            (8, "gpu-failed"),
            (11, "gpu-failed"),
            (14, "gpu-failed"),
            (19, "gpu-failed"),
            (28, "gpu-failed"),
            (999, "gpu-failed"),
        )
    ),
    Case(
        "NVML hangs in its start",
        Evidence(
            platform=LINUX,
            files=loaded(nodes=NODES, gpus=known("0000:01:00.0")),
            nvml=Asked(ended="timeout", waiting=INIT, seconds=5),
        ),
        ("580.95.05", None),
        (None,),
        ("probe-timeout",),
        broken=True,
        says=("within 5 s: `nvmlInit`",),
    ),
    Case(
        "NVML hangs in its second GPU",
        Evidence(
            platform=LINUX,
            files=loaded(nodes=NODES),
            nvml=Asked(
                answers=(
                    Answer(call=INIT),
                    Answer(call=VERSION, value="580.95.05"),
                    Answer(call=CUDA, value=13000),
                    Answer(call=COUNT, value=2),
                    *card(0, "9.0"),
                ),
                ended="timeout",
                waiting=f"{HANDLE} of GPU 1",
                seconds=5,
            ),
        ),
        ("580.95.05", "13.0"),
        ("9.0", None),
        ("probe-timeout",),
    ),
    Case(
        "NVML crashes on a machine without a driver",
        Evidence(
            platform=LINUX,
            files=Files(),
            nvml=Asked(ended="crashed", waiting=INIT, detail="signal SIGSEGV", seconds=5),
        ),
        None,
        (),
        ("probe-crashed",),
        broken=True,
        says=("SIGSEGV",),
    ),
    Case(
        "a compute capability of zero",
        Evidence(
            platform=LINUX,
            files=loaded(),
            nvml=nvml("580.95.05", 13000, card(0, "0.0"), card(1, "9.0")),
        ),
        ("580.95.05", "13.0"),
        (None, "9.0"),
        ("implausible-value",),
    ),
    Case(
        "a number of GPUs that cannot be",
        Evidence(
            platform=LINUX,
            files=loaded(),
            nvml=Asked(
                answers=(
                    Answer(call=INIT),
                    Answer(call=VERSION, value="580.95.05"),
                    Answer(call=CUDA, value=13000),
                    Answer(call=COUNT, value=2**32 - 1),
                )
            ),
        ),
        ("580.95.05", "13.0"),
        (),
        ("implausible-value", "gpus-unreadable"),
        broken=True,
    ),
    Case(
        "Jetson Thor with JetPack 7",
        Evidence(
            platform=platform("jetson"),
            files=loaded("580.00", nodes=NODES),
            nvml=nvml("580.00", 13000, card(0, "11.0", "NVIDIA Thor")),
        ),
        ("580.00", "13.0"),
        ("11.0",),
        ("jetson",),
    ),
    Case(
        "a Jetson from before NVML",
        Evidence(
            platform=platform("jetson"),
            files=Files(),
            nvml=MISSING,
            libcuda=Asked(answers=(Answer(call="cuDriverGetVersion", value=11040),)),
        ),
        (None, "11.4"),
        (),
        ("jetson", "gpus-unknown"),
    ),
    Case(
        "IGX Orin with a discrete GPU",
        Evidence(
            platform=platform("jetson"),
            files=loaded("540.4.0"),
            nvml=nvml(
                "540.4.0", 12060, card(0, "8.7", "Orin (nvgpu)"), card(1, "8.6", "NVIDIA RTX A6000")
            ),
        ),
        ("540.4.0", "12.6"),
        ("8.7", "8.6"),
        ("jetson",),
    ),
    Case(
        "macOS",
        Evidence(
            platform=Platform(system="macos", machine="arm64", kind="macos", libc=None),
            files=Files(),
        ),
        None,
        (),
        ("no-gpu",),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hard_case_becomes_its_host(case: Case) -> None:
    host = combine(case.evidence)
    driver = host.driver and tuple(
        None if value is None else str(value) for value in (host.driver.version, host.driver.cuda)
    )
    assert driver == case.driver
    told = [gpu.compute_capability for gpu in host.gpus]
    assert tuple(None if one is None else str(one) for one in told) == case.capabilities
    assert tuple(finding.code for finding in host.findings) == case.codes
    assert bool(host.broken) is case.broken
    sources = dict(host.sources)
    assert {key: sources.get(key) for key in case.sources} == case.sources
    for text in case.says:
        assert text in host.findings[0].message


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_said_has_the_form_of_messages(case: Case) -> None:
    for finding in combine(case.evidence).findings:
        for text in (finding.message, finding.hint or "x"):
            assert not text.endswith("."), text
            assert text.count("`") % 2 == 0, text
            assert "None" not in text, text


@pytest.mark.parametrize(
    ("evidence", "hint"),
    [
        (
            Evidence(platform=platform(container="docker"), files=loaded(), nvml=MISSING),
            "docker run --gpus all",
        ),
        (
            Evidence(platform=platform(container="podman"), files=loaded(), nvml=MISSING),
            "podman run --device nvidia.com/gpu=all",
        ),
        (
            Evidence(
                platform=LINUX,
                files=loaded(nodes=NODES, blocked=("nvidia0", "nvidiactl")),
                nvml=refused(17, "blocked"),
            ),
            "give this user access to `/dev/nvidia0`, `/dev/nvidiactl`",
        ),
        (
            Evidence(
                platform=platform(container="docker"),
                files=loaded(nodes=NODES),
                nvml=refused(999, "Unknown Error"),
            ),
            "start the container anew",
        ),
    ],
)
def test_a_hint_fits_where_the_machine_is(evidence: Evidence, hint: str) -> None:
    (finding,) = combine(evidence).findings
    assert finding.hint is not None
    assert hint in finding.hint


def test_a_gpu_that_does_not_start_has_a_hint_that_says_where_to_look() -> None:
    files = loaded(nodes=NODES, pci=(PciGpu(address="0000:01:00.0", driver="nvidia"),))
    (finding,) = combine(Evidence(platform=LINUX, files=files, nvml=nvml())).findings
    assert finding.hint is not None
    assert "`dmesg | grep NVRM`" in finding.hint


@pytest.mark.parametrize(
    ("files", "library", "known"),
    [
        (loaded("580.95.05"), None, ": the kernel module is `580.95.05`"),
        (Files(), "/usr/lib/libnvidia-ml.so.570.124.06", ": its library is `570.124.06`"),
        (Files(), "/usr/lib/libnvidia-ml.so.1", ""),
    ],
)
def test_a_mismatch_names_what_is_known_of_either_side(
    files: Files, library: str | None, known: str
) -> None:
    asked = refused(18, "Mismatch", library=library)
    (told,) = combine(Evidence(platform=LINUX, files=files, nvml=asked)).findings
    assert told.message == f"NVML does not start: Mismatch{known}"


def test_a_damaged_library_is_not_taken_for_a_missing_capability() -> None:
    evidence = Evidence(
        platform=platform(container="docker"),
        files=loaded(nodes=NODES),
        nvml=refused(12, "libnvidia-ml.so.1: file too short"),
    )
    told = next(one for one in combine(evidence).findings if one.code == "driver-no-library")
    assert told.hint is not None
    assert "damaged" in told.hint
    assert "utility" not in told.hint


@given(st.text(max_size=20), st.sampled_from(["nvml", "files"]))
def test_a_name_has_nothing_that_moves_what_is_shown(name: str, layer: str) -> None:
    name = f"H100\u202e\x1b{name}"
    text = INFORMATION.format(name=name, uuid="GPU-1", address="0000:01:00.0", minor=0)
    files = loaded(nodes=NODES, gpus=known("0000:01:00.0", text=text))
    asked = nvml("580.95.05", 13000, card(0, "9.0", name)) if layer == "nvml" else MISSING
    (gpu,) = combine(Evidence(platform=LINUX, files=files, nvml=asked)).gpus
    assert gpu.name is not None
    assert gpu.name.startswith("H100")
    assert gpu.name.isprintable()


def test_a_cuda_version_without_a_driver_is_not_told_of() -> None:
    libcuda = Asked(answers=(Answer(call="cuDriverGetVersion", value=12080),))
    evidence = Evidence(platform=LINUX, files=Files(nodes=NODES), nvml=NOT_LOADED, libcuda=libcuda)
    assert set(dict(combine(evidence).sources)) == {"gpus", "platform"}


# Which GPUs can be used


def second(*answers: Answer, **how: object) -> GpuStatus:
    """The state of a GPU with these answers, beside one that works."""
    asked = nvml("580.95.05", 13000, card(0, "9.0"), answers)
    host = combine(
        Evidence(platform=LINUX, files=loaded(), nvml=replace(asked, **how))  # type: ignore[arg-type]  # its own fields
    )
    assert host.gpus[1].compute_capability is None
    return host.gpus[1].status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (4, "no-permission"),
        (15, "lost"),
        (16, "lost"),
        (8, "failed"),
        (11, "failed"),
        (14, "failed"),
        (17, "ok"),
        (19, "ok"),
        (28, "ok"),
        (999, "ok"),
    ],
)
def test_only_a_fault_of_the_hardware_proves_that_nobody_can_use_a_gpu(
    error: int, status: GpuStatus
) -> None:
    assert second(failed(HANDLE, error, "x", 1)) == status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        *((4, "no-permission"), (15, "lost"), (16, "lost")),
        *((error, "ok") for error in (3, 8, 10, 13, 999)),
    ],
)
def test_a_gpu_that_does_not_tell_its_capability_may_still_be_used(
    error: int, status: GpuStatus
) -> None:
    assert second(Answer(call=HANDLE, gpu=1), failed(CAPABILITY, error, "x", 1)) == status


@pytest.mark.parametrize("ended", ["timeout", "crashed"])
@pytest.mark.parametrize("answers", [(), (Answer(call=HANDLE, gpu=1),)])
def test_a_gpu_that_was_never_asked_may_still_be_used(
    answers: tuple[Answer, ...], ended: str
) -> None:
    assert second(*answers, ended=ended, waiting=HANDLE) == "ok"


@pytest.mark.parametrize("text", [OPEN_MODULE, CLOSED_MODULE])
def test_the_version_is_read_from_either_kernel_module(text: str) -> None:
    files = Files(version=text.format(version="535.129.03"))
    driver = combine(Evidence(platform=LINUX, files=files, nvml=MISSING)).driver
    assert driver is not None
    assert str(driver.version) == "535.129.03"


@pytest.mark.parametrize("text", ["", "\n", "N/A", "version mismatch", "580", "5" * 50 + ".1"])
def test_what_is_no_version_in_a_file_is_not_taken_for_one(text: str) -> None:
    files = Files(module_version=text, version=f"NVRM version: Kernel Module  {text}  x")
    host = combine(Evidence(platform=LINUX, files=files, nvml=MISSING))
    assert host.driver is not None
    assert host.driver.version is None
    assert [finding.code for finding in host.findings] == ["driver-unreadable", "driver-no-device"]


def test_files_name_the_gpus_whose_nodes_are_here() -> None:
    def gpu(address: str, minor: int) -> KnownGpu:
        text = INFORMATION.format(
            name="NVIDIA A100", uuid=f"GPU-{minor}", address=address, minor=minor
        )
        return KnownGpu(address=address, information=text)

    files = loaded(
        nodes=("nvidia1", "nvidiactl"), gpus=(gpu("0000:01:00.0", 0), gpu("0000:02:00.0", 1))
    )
    host = combine(Evidence(platform=LINUX, files=files, nvml=MISSING))
    assert [(gpu.index, gpu.name, gpu.uuid, gpu.pci) for gpu in host.gpus] == [
        (0, "NVIDIA A100", "GPU-1", "0000:02:00.0")
    ]


def test_nvidia_smi_fills_the_gaps_that_files_leave() -> None:
    files = loaded("570.124.06", nodes=NODES, gpus=known("0000:01:00.0"))
    rows = "0, GPU-a, NVIDIA A100, 570.124.06, 81920, 00000000:01:00.0, 8.0\n"
    host = combine(Evidence(platform=LINUX, files=files, nvml=MISSING, smi=smi(rows)))
    (gpu,) = host.gpus
    assert (str(gpu.compute_capability), gpu.uuid, gpu.pci) == ("8.0", "GPU-a", "0000:01:00.0")
    assert gpu.memory_bytes == 81920 << 20


# Forward compatibility packages, as the loaded library tells


@pytest.mark.parametrize(
    ("path", "note", "kind", "compat"),
    [
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.535.129.03", Compat(cuda=None), "linux", None),
        ("/usr/lib/wsl/lib/libcuda.so.1.1", None, "wsl2", None),
        ("/usr/lib/libcuda.so.1", None, "linux", None),
        (
            "/usr/local/cuda-13.0/compat/libcuda.so.580.65.06",
            Compat(cuda=version("13.0"), branches=(535,)),
            "linux",
            Compat(
                cuda=version("13.0"),
                branches=(535,),
                path="/usr/local/cuda-13.0/compat/libcuda.so.580.65.06",
            ),
        ),
        (
            "/opt/libcuda.so.580.65.06",
            None,
            "linux",
            Compat(cuda=None, path="/opt/libcuda.so.580.65.06"),
        ),
        (
            "/usr/local/cuda/compat/libcuda.so.1",
            None,
            "linux",
            Compat(cuda=None, path="/usr/local/cuda/compat/libcuda.so.1"),
        ),
    ],
)
def test_a_libcuda_of_another_driver_is_a_compatibility_package(
    path: str, note: Compat | None, kind: PlatformClass, compat: Compat | None
) -> None:
    evidence = Evidence(
        platform=platform(kind),
        files=Files(),
        nvml=nvml("535.129.03", 13000, card(0, "8.0"), libcuda=path),
        note=note,
    )
    driver = combine(evidence).driver
    assert driver is not None
    assert driver.compat == compat


# What holds for any evidence

TEXTS = st.text(max_size=40)
VALUES = st.one_of(
    st.none(), st.integers(), TEXTS, st.lists(st.integers(-5, 120), max_size=3), st.booleans()
)
CALLS = st.sampled_from(
    [
        *(INIT, VERSION, CUDA, OLD_CUDA, COUNT, HANDLE, CAPABILITY, "nvmlDeviceGetUUID"),
        *("nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetBrand"),
        *("nvmlDeviceGetPciInfo", "nvmlDeviceGetMigMode", "nvmlDeviceGetMaxMigDeviceCount"),
        *("nvmlDeviceGetMigDeviceHandleByIndex", "cuDriverGetVersion"),
    ]
)
ANSWERS = st.builds(
    Answer,
    call=CALLS,
    gpu=st.none() | st.integers(0, 3),
    part=st.none() | st.integers(0, 2),
    value=VALUES,
    error=st.none() | st.integers(1, 31) | st.just(999),
    said=st.none() | TEXTS,
)
ASKED = st.builds(
    Asked,
    answers=st.lists(ANSWERS, max_size=20).map(tuple),
    ended=st.sampled_from(["finished", "timeout", "crashed"]),
    waiting=st.none() | CALLS,
    detail=st.none() | TEXTS,
    library=st.none() | TEXTS,
    libcuda=st.none() | TEXTS,
)
BOUND = st.none() | st.sampled_from(["nvidia", "vfio-pci"]) | TEXTS
FILES = st.builds(
    Files,
    module_version=st.none() | TEXTS | st.just("580.95.05\n"),
    version=st.none() | TEXTS | st.just(OPEN_MODULE.format(version="580.95.05")),
    gpus=st.lists(
        st.builds(KnownGpu, address=TEXTS, information=st.none() | TEXTS), max_size=3
    ).map(tuple),
    nodes=st.sets(st.sampled_from(["nvidiactl", "nvidia0", "nvidia1"])).map(
        lambda found: tuple(sorted(found))
    ),
    pci=st.lists(st.builds(PciGpu, address=TEXTS, driver=BOUND), max_size=2).map(tuple),
    dxg=st.booleans(),
    nouveau=st.booleans(),
)
SAID = st.none() | st.builds(
    Said,
    text=TEXTS | st.lists(st.sampled_from(["0", "9.0", "[N/A]", "580.95.05", "x"])).map(", ".join),
    code=st.none() | st.integers(-15, 20),
)
SMIS = st.none() | st.builds(Smi, path=TEXTS, fields=st.just(FIELDS), rows=SAID, banner=SAID)
PLATFORMS = st.builds(
    platform,
    st.sampled_from(["linux", "wsl2", "jetson"]),
    st.sampled_from([None, "docker", "podman", "lxc"]),
)
EVIDENCE = st.builds(
    Evidence,
    platform=PLATFORMS,
    files=FILES,
    nvml=st.none() | ASKED,
    libcuda=st.none() | ASKED,
    smi=SMIS,
)


@given(EVIDENCE)
def test_any_evidence_becomes_a_host_with_known_codes(evidence: Evidence) -> None:
    host = combine(evidence)
    assert {finding.code for finding in host.findings} <= set(KINDS)
    assert [gpu.index for gpu in host.gpus] == sorted({gpu.index for gpu in host.gpus}) or (
        dict(host.sources)["gpus"] == "nvidia-smi"
    )


@given(EVIDENCE)
def test_a_host_without_anything_to_use_always_says_why(evidence: Evidence) -> None:
    host = combine(evidence)
    if host.driver is None or not host.gpus:
        assert host.findings


@given(FILES, SMIS, st.none() | ASKED)
def test_no_lower_layer_overwrites_what_nvml_told(
    files: Files, smi_evidence: Smi | None, libcuda: Asked | None
) -> None:
    asked = nvml("580.95.05", 13000, card(0, "9.0"), card(1, "7.0"))
    alone = combine(Evidence(platform=LINUX, files=Files(), nvml=asked))
    beside = combine(
        Evidence(platform=LINUX, files=files, nvml=asked, smi=smi_evidence, libcuda=libcuda)
    )
    assert beside.driver is not None
    assert alone.driver is not None
    assert (beside.driver.version, beside.driver.cuda) == (alone.driver.version, alone.driver.cuda)
    assert [gpu.compute_capability for gpu in beside.gpus] == [
        gpu.compute_capability for gpu in alone.gpus
    ]
    assert dict(beside.sources)["driver"] == "nvml"


@given(FILES, st.text(), st.integers(-15, 20).filter(bool))
def test_what_a_failed_nvidia_smi_says_changes_nothing(files: Files, text: str, code: int) -> None:
    def found(said: Smi | None) -> Host:
        return combine(Evidence(platform=LINUX, files=files, nvml=MISSING, smi=said))

    banner = f"{text} CUDA Version: 12.8 Driver Version: 550.54.15"
    rows = f"{text}\n0, GPU-a, NVIDIA A100, 550.54.15, 1, 00000000:01:00.0, 8.0\n"
    assert found(smi(rows, banner, code)) == found(None)


@given(FILES, st.integers(1, 1000).filter(lambda code: code not in {9, 12}))
def test_a_start_that_fails_is_never_taken_for_an_absent_gpu(files: Files, code: int) -> None:
    assert combine(Evidence(platform=LINUX, files=files, nvml=refused(code, "x"))).broken


@given(FILES, st.none() | ASKED)
def test_a_driver_that_is_not_loaded_is_none_and_never_silent(
    files: Files, libcuda: Asked | None
) -> None:
    host = combine(Evidence(platform=LINUX, files=files, nvml=NOT_LOADED, libcuda=libcuda))
    if not files.loaded:
        assert host.driver is None
    if files.gpu_nodes:
        assert host.broken or "gpu-no-driver" in [finding.code for finding in host.findings]


@given(st.binary(max_size=200))
def test_any_output_of_a_probe_can_be_read(output: bytes) -> None:
    read_lines(split_lines(output))


def test_a_line_that_is_nested_without_end_is_passed_over() -> None:
    assert split_lines(b"[" * 100_000 + b'\n{"call": "nvmlInit"}\n') == ({"call": "nvmlInit"},)


def test_lines_that_a_library_prints_do_not_hide_the_answers() -> None:
    output = (
        b'NVRM: hello\n{"call": "nvmlInit"}\n[1, 2]\n{"call": "nvmlInit", "value": null}\n'
        b'{"library": "/lib/libnvidia-ml.so.1"}\n{"call": "nvmlDeviceGetCount"}\n{"call": "nvml'
    )
    asked = read_lines(split_lines(output))
    assert asked.answers == (Answer(call="nvmlInit"),)
    assert asked.waiting == "nvmlDeviceGetCount"
    assert asked.library == "/lib/libnvidia-ml.so.1"
