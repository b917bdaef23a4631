"""What is known of a machine, and how that is written to and read from JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

from provisioner.core.version import ComputeCapability, DottedVersion
from provisioner.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping

System = Literal["linux", "macos", "windows"]
PlatformClass = Literal["linux", "wsl2", "jetson", "macos", "windows"]
Libc = tuple[Literal["glibc", "musl"], str]

_T = TypeVar("_T")
_FINDING: Final = ("code", "message")

BROKEN: Final = frozenset({"version-mismatch", "nvml-failed", "gpus-unreadable"})
"""Findings after which nothing can be chosen: a broken driver must not become a CPU environment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Platform:
    """Operating system, machine and C library."""

    system: System
    machine: str
    kind: PlatformClass
    libc: Libc | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Driver:
    """The NVIDIA driver: two facts that are not the same.

    `version` is the kernel driver (`570.124.06`), `cuda` the CUDA version that its
    user-mode half runs (`12.8`, of `libcuda.so.1`).
    """

    version: DottedVersion | None
    cuda: DottedVersion | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One GPU as NVML counts them, which need not be CUDA's order."""

    index: int
    uuid: str | None = None
    name: str | None = None
    compute_capability: ComputeCapability | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something a user should know, under a stable code."""

    code: str
    message: str
    hint: str | None = None


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
        return tuple(finding for finding in self.findings if finding.code in BROKEN)

    def with_findings(self, *found: Finding) -> Host:
        """The same host with more findings."""
        return replace(self, findings=(*self.findings, *found))


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What is provisioned for: a host and, where it was named, a Python version."""

    host: Host
    python: str | None = None


def target_to_json(target: Target) -> dict[str, Any]:
    """The saved form, which is also `detect --json`'s data."""
    host = target.host
    platform = host.platform
    data: dict[str, Any] = {
        "platform": {
            "system": platform.system,
            "machine": platform.machine,
            "class": platform.kind,
            "libc": list(platform.libc) if platform.libc else None,
        },
        "driver": host.driver
        and {"version": _text(host.driver.version), "cuda": _text(host.driver.cuda)},
        "gpus": [
            {
                "index": gpu.index,
                "uuid": gpu.uuid,
                "name": gpu.name,
                "compute_capability": _text(gpu.compute_capability),
                "memory_bytes": gpu.memory_bytes,
            }
            for gpu in host.gpus
        ],
        "findings": [
            {"code": found.code, "message": found.message, "hint": found.hint}
            for found in host.findings
        ],
        "sources": dict(host.sources),
    }
    if target.python is not None:
        data["python"] = target.python
    return data


def target_from_json(data: object, origin: str) -> Target:
    """Read a saved target, or the whole `--json` output of `detect`.

    Raises:
        TargetError: it is not one; all faults at once, each with the path to its key.
    """
    if isinstance(data, dict) and "gpuenv" in data and isinstance(data.get("data"), dict):
        data = data["data"]
    reader = _Reader()
    target = reader.target(data)
    if reader.faults or target is None:
        message = f"target `{origin}` is not valid"
        raise TargetError(message, causes=tuple(reader.faults))
    return target


def with_absence_findings(host: Host) -> Host:
    """Add why there is no GPU to use, where there is none: absent is not broken."""
    codes = {finding.code for finding in host.findings}
    if codes & {"gpus-unknown", "no-gpu", "gpu-no-driver", "driver-no-device"} or host.broken:
        return host
    if host.driver is None and not host.gpus:
        return host.with_findings(
            Finding(code="no-gpu", message="no NVIDIA driver and no GPU were found")
        )
    if host.driver is None:
        return host.with_findings(
            Finding(
                code="gpu-no-driver",
                message=f"{len(host.gpus)} GPU without an NVIDIA driver",
                hint="install NVIDIA's driver to use the GPU",
            )
        )
    if not host.gpus:
        return host.with_findings(
            Finding(
                code="driver-no-device",
                message="there is an NVIDIA driver but no GPU to use",
                hint="in a container, pass the GPUs in, such as with `--gpus all`",
            )
        )
    return host


def _text(value: object) -> str | None:
    return None if value is None else str(value)


class _Reader:
    """Collects every fault instead of stopping at the first."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def target(self, data: object) -> Target | None:
        if not isinstance(data, dict):
            self.faults.append(f"expected an object, got {type(data).__name__}")
            return None
        platform = self._platform(data.get("platform"))
        driver = self._driver(data.get("driver"))
        gpus = tuple(
            gpu
            for position, item in enumerate(self._list(data, "gpus"))
            if (gpu := self._gpu(item, position)) is not None
        )
        findings = tuple(
            finding
            for position, item in enumerate(self._list(data, "findings"))
            if (finding := self._finding(item, f"findings[{position}]")) is not None
        )
        python = self._version(data.get("python"), "python")
        if platform is None:
            return None
        return Target(
            host=with_absence_findings(
                Host(
                    platform=platform,
                    driver=driver,
                    gpus=gpus,
                    findings=findings,
                    sources=(("target", "saved target"),),
                )
            ),
            python=_text(python),
        )

    def _platform(self, data: object) -> Platform | None:
        if not isinstance(data, dict):
            self.faults.append("`platform`: missing")
            return None
        system, kind = data.get("system"), data.get("class")
        if system not in get_args(System):
            self.faults.append(f"`platform.system`: `{system}` is none of {_names(System)}")
        if kind not in get_args(PlatformClass):
            self.faults.append(f"`platform.class`: `{kind}` is none of {_names(PlatformClass)}")
        machine = self._optional(data, "machine", "platform.machine", str)
        if machine is None:
            self.faults.append("`platform.machine`: missing")
        libc = data.get("libc")
        if libc is not None and not (
            isinstance(libc, list)
            and [type(part) for part in libc] == [str, str]
            and libc[0] in {"glibc", "musl"}
            and self._version(libc[1], "platform.libc[1]")
        ):
            self.faults.append(f'`platform.libc`: `{libc}` is not like `["glibc", "2.35"]`')
        if self.faults:
            return None
        return Platform(
            system=system,  # type: ignore[arg-type]  # checked above
            machine=machine or "",
            kind=kind,  # type: ignore[arg-type]  # checked above
            libc=(libc[0], libc[1]) if libc else None,
        )

    def _driver(self, data: object) -> Driver | None:
        if data is None:
            return None
        if not isinstance(data, dict):
            self.faults.append(f"`driver`: expected an object or null, got {type(data).__name__}")
            return None
        return Driver(
            version=self._version(data.get("version"), "driver.version"),
            cuda=self._version(data.get("cuda"), "driver.cuda"),
        )

    def _gpu(self, data: object, position: int) -> Gpu | None:
        path = f"gpus[{position}]"
        if not isinstance(data, dict):
            self.faults.append(f"`{path}`: expected an object, got {type(data).__name__}")
            return None
        capability = None
        text = data.get("compute_capability")
        try:
            capability = None if text is None else ComputeCapability.parse(str(text))
        except ValueError as error:
            self.faults.append(f"`{path}.compute_capability`: {error}")
        return Gpu(
            index=self._optional(data, "index", f"{path}.index", int) or 0
            if "index" in data
            else position,
            uuid=self._optional(data, "uuid", f"{path}.uuid", str),
            name=self._optional(data, "name", f"{path}.name", str),
            compute_capability=capability,
            memory_bytes=self._optional(data, "memory_bytes", f"{path}.memory_bytes", int),
        )

    def _finding(self, data: object, path: str) -> Finding | None:
        if not isinstance(data, dict):
            self.faults.append(f"`{path}`: expected an object, got {type(data).__name__}")
            return None
        code, message = (self._optional(data, key, f"{path}.{key}", str) for key in _FINDING)
        if code is None and "code" not in data:
            self.faults.append(f"`{path}.code`: missing")
        return Finding(
            code=code or "",
            message=message if message is not None else code or "",
            hint=self._optional(data, "hint", f"{path}.hint", str),
        )

    def _version(self, text: object, path: str) -> DottedVersion | None:
        if text is not None and not isinstance(text, str):
            self.faults.append(f"`{path}`: expected str, got {type(text).__name__}")
            return None
        try:
            return None if text is None else DottedVersion.parse(text)
        except ValueError as error:
            self.faults.append(f"`{path}`: {error}")
            return None

    def _list(self, data: Mapping[str, Any], key: str) -> list[Any]:
        value = data.get(key, [])
        if isinstance(value, list):
            return value
        self.faults.append(f"`{key}`: expected a list, got {type(value).__name__}")
        return []

    def _optional(self, data: Mapping[str, Any], key: str, path: str, kind: type[_T]) -> _T | None:
        value = data.get(key)
        if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
            return value
        self.faults.append(f"`{path}`: expected {kind.__name__}, got {type(value).__name__}")
        return None


def _names(choices: object) -> str:
    return ", ".join(f"`{choice}`" for choice in get_args(choices))
