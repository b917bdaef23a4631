"""What is known of a machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from provisioner.core.findings import ABSENT, BROKEN, BROKEN_UNTOLD, Finding, found

if TYPE_CHECKING:
    from provisioner.core.version import ComputeCapability, DottedVersion

__all__ = [
    "BROKEN",
    "Compat",
    "Driver",
    "Finding",
    "Gpu",
    "GpuStatus",
    "Host",
    "Libc",
    "Platform",
    "PlatformClass",
    "System",
    "Target",
    "with_absence_findings",
]

System = Literal["linux", "macos", "windows"]
PlatformClass = Literal["linux", "wsl2", "jetson", "macos", "windows"]
Libc = tuple[Literal["glibc", "musl"], str]
GpuStatus = Literal["ok", "lost", "no-permission", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Platform:
    """Operating system, machine and C library; `container` is the engine it runs in, if one."""

    system: System
    machine: str
    kind: PlatformClass
    libc: Libc | None
    container: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Compat:
    """NVIDIA's forward compatibility package, whose `libcuda.so.1` comes first on the path.

    `branches` are the kernel driver branches (`535`) that its ELF note
    `.note.cuda.fwd_compatibility` names; empty where it has none.
    """

    cuda: DottedVersion | None
    branches: tuple[int, ...] = ()
    path: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Driver:
    """The NVIDIA driver: two facts that are not the same.

    `version` is the kernel driver (`570.124.06`), `cuda` the CUDA version that its
    user-mode half runs (`12.8`, of `libcuda.so.1`). `compat` is the compatibility package
    that the user-mode half is from, where it is not the kernel driver's own.
    """

    version: DottedVersion | None
    cuda: DottedVersion | None
    compat: Compat | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One GPU as NVML counts them, which need not be CUDA's order.

    `brand` is NVML's (`geforce`, `tesla`, `nvidia`, …), `pci` the bus address, `mig` the number
    of MIG devices where MIG is on. What is not `ok` is known to be of no use to this user now;
    a GPU that could not be asked is `ok`, and its compute capability unknown.
    """

    index: int
    uuid: str | None = None
    name: str | None = None
    compute_capability: ComputeCapability | None = None
    memory_bytes: int | None = None
    brand: str | None = None
    pci: str | None = None
    mig: int | None = None
    status: GpuStatus = "ok"

    @property
    def brand_or_name(self) -> str | None:
        """The brand, or `geforce` by the name where no brand is known: files tell none."""
        if self.brand not in {None, "unknown"} or "geforce" not in (self.name or "").lower():
            return self.brand
        return "geforce"

    @property
    def integrated(self) -> bool:
        """Whether it is the integrated GPU of a Tegra chip, by its name as NVML gives it."""
        name = self.name or ""
        return "(nvgpu)" in name or name == "NVIDIA Thor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """Facts of a machine; `sources` says for each where it is from."""

    platform: Platform
    driver: Driver | None = None
    gpus: tuple[Gpu, ...] = ()
    findings: tuple[Finding, ...] = ()
    sources: tuple[tuple[str, str], ...] = ()

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The findings after which no choice can be trusted."""
        told = self.driver and any(gpu.compute_capability for gpu in self.gpus)
        codes = BROKEN if told else BROKEN | BROKEN_UNTOLD
        return tuple(finding for finding in self.findings if finding.code in codes)

    def with_findings(self, *found: Finding) -> Host:
        """The same host with more findings."""
        return replace(self, findings=(*self.findings, *found))


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What is provisioned for: a host and, where it was named, a Python version."""

    host: Host
    python: str | None = None


def with_absence_findings(host: Host) -> Host:
    """Add why there is no GPU to use, where there is none: absent is not broken."""
    codes = {finding.code for finding in host.findings}
    if codes & (ABSENT | {"gpus-unknown"}) or host.broken:
        return host
    if host.driver is None and not host.gpus:
        return host.with_findings(found("no-gpu", "no NVIDIA driver and no GPU were found"))
    if host.driver is None:
        count = "a GPU" if len(host.gpus) == 1 else f"{len(host.gpus)} GPUs"
        return host.with_findings(found("gpu-no-driver", f"{count} without an NVIDIA driver"))
    if not host.gpus:
        message = "there is an NVIDIA driver but no GPU to use"
        return host.with_findings(found("driver-no-device", message))
    return host
