"""A target as JSON: the output of `detect --json`, and the file that `--target` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

from provisioner.core import plausible
from provisioner.core.host import (
    Compat,
    Driver,
    Finding,
    Gpu,
    GpuStatus,
    Host,
    Platform,
    PlatformClass,
    System,
    Target,
    with_absence_findings,
)
from provisioner.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.core.version import DottedVersion

_T = TypeVar("_T")
_CLASSES: Final[Mapping[object, tuple[str, ...]]] = {
    "linux": ("linux", "wsl2", "jetson"),
    "macos": ("macos",),
    "windows": ("windows",),
}
"""The classes of machines that a system runs on."""
_FINDING: Final = ("code", "message")
_KEYS: Final = ("platform", "driver", "gpus", "findings", "sources", "python")
_PLATFORM: Final = ("system", "machine", "class", "libc", "container")
_DRIVER: Final = ("version", "cuda", "compat")
_COMPAT: Final = ("cuda", "branches", "path")
_GPU: Final = (
    *("index", "uuid", "name", "compute_capability", "memory_bytes"),
    *("brand", "pci", "mig", "status"),
)


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
            "container": platform.container,
        },
        "driver": host.driver and _driver_to_json(host.driver),
        "gpus": [
            {
                "index": gpu.index,
                "uuid": gpu.uuid,
                "name": gpu.name,
                "compute_capability": _text(gpu.compute_capability),
                "memory_bytes": gpu.memory_bytes,
                "brand": gpu.brand,
                "pci": gpu.pci,
                "mig": gpu.mig,
                "status": gpu.status,
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


def _driver_to_json(driver: Driver) -> dict[str, Any]:
    compat = driver.compat
    return {
        "version": _text(driver.version),
        "cuda": _text(driver.cuda),
        "compat": compat
        and {"cuda": _text(compat.cuda), "branches": list(compat.branches), "path": compat.path},
    }


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


def _text(value: object) -> str | None:
    return None if value is None else str(value)


class _Reader:
    """Collects every fault instead of stopping at the first."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def target(self, data: object) -> Target | None:
        if not isinstance(data, dict):
            got = "null" if data is None else type(data).__name__
            self.faults.append(f"expected an object, got {got}")
            return None
        self._unknown(data, _KEYS, "")
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
        if not isinstance(data.get("sources", {}), dict):
            self.faults.append(
                f"`sources`: expected an object, got {type(data['sources']).__name__}"
            )
        self._distinct(gpus)
        python = self._read(data.get("python"), "python", plausible.python)
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
            python=python,
        )

    def _platform(self, data: object) -> Platform | None:
        if not isinstance(data, dict):
            self.faults.append("`platform`: missing")
            return None
        self._unknown(data, _PLATFORM, "platform.")
        system, kind = data.get("system"), data.get("class")
        if system not in get_args(System):
            self.faults.append(f"`platform.system`: `{system}` is none of {_names(System)}")
        if kind not in get_args(PlatformClass):
            self.faults.append(f"`platform.class`: `{kind}` is none of {_names(PlatformClass)}")
        elif kind not in _CLASSES.get(system, (kind,)):
            self.faults.append(f"`platform.class`: `{kind}` is not of system `{system}`")
        machine = self._optional(data, "machine", "platform.machine", str)
        if machine is None:
            self.faults.append("`platform.machine`: missing")
        elif self._read(machine, "platform.machine", plausible.machine) and system == "linux":
            machine = plausible.machine_of(machine, "linux")
        libc = data.get("libc")
        if libc is not None and not (
            isinstance(libc, list)
            and [type(part) for part in libc] == [str, str]
            and libc[0] in {"glibc", "musl"}
            and self._version(libc[1], "platform.libc[1]")
        ):
            self.faults.append(f'`platform.libc`: `{libc}` is not like `["glibc", "2.35"]`')
        elif libc is not None and system in {"macos", "windows"}:
            self.faults.append(f"`platform.libc`: `{libc[0]}` is not of system `{system}`")
        if self.faults:
            return None
        return Platform(
            system=system,  # type: ignore[arg-type]  # checked above
            machine=machine or "",
            kind=kind,  # type: ignore[arg-type]  # checked above
            libc=(libc[0], libc[1]) if libc else None,
            container=self._optional(data, "container", "platform.container", str),
        )

    def _driver(self, data: object) -> Driver | None:
        if data is None:
            return None
        if not isinstance(data, dict):
            self.faults.append(f"`driver`: expected an object or null, got {type(data).__name__}")
            return None
        self._unknown(data, _DRIVER, "driver.")
        return Driver(
            version=self._version(data.get("version"), "driver.version"),
            cuda=self._read(data.get("cuda"), "driver.cuda", plausible.cuda),
            compat=self._compat(data.get("compat")),
        )

    def _compat(self, data: object) -> Compat | None:
        if data is None:
            return None
        if not isinstance(data, dict):
            self.faults.append(f"`driver.compat`: expected an object, got {type(data).__name__}")
            return None
        self._unknown(data, _COMPAT, "driver.compat.")
        branches = data.get("branches", [])
        if not isinstance(branches, list) or any(type(item) is not int for item in branches):
            self.faults.append("`driver.compat.branches`: expected a list of integers")
            branches = []
        return Compat(
            cuda=self._read(data.get("cuda"), "driver.compat.cuda", plausible.cuda),
            branches=tuple(branches),
            path=self._optional(data, "path", "driver.compat.path", str),
        )

    def _gpu(self, data: object, position: int) -> Gpu | None:
        path = f"gpus[{position}]"
        if not isinstance(data, dict):
            self.faults.append(f"`{path}`: expected an object, got {type(data).__name__}")
            return None
        self._unknown(data, _GPU, f"{path}.")
        status = data.get("status", "ok")
        if status not in get_args(GpuStatus):
            self.faults.append(f"`{path}.status`: `{status}` is none of {_names(GpuStatus)}")
        capability = None
        text = data.get("compute_capability")
        try:
            capability = None if text is None else plausible.capability(str(text))
        except ValueError as error:
            self.faults.append(f"`{path}.compute_capability`: {error}")
        return Gpu(
            index=self._number(data, "index", path) or 0 if "index" in data else position,
            uuid=self._optional(data, "uuid", f"{path}.uuid", str),
            name=self._optional(data, "name", f"{path}.name", str),
            compute_capability=capability,
            memory_bytes=self._number(data, "memory_bytes", path),
            brand=self._optional(data, "brand", f"{path}.brand", str),
            pci=self._optional(data, "pci", f"{path}.pci", str),
            mig=self._number(data, "mig", path),
            status=status,
        )

    def _finding(self, data: object, path: str) -> Finding | None:
        if not isinstance(data, dict):
            self.faults.append(f"`{path}`: expected an object, got {type(data).__name__}")
            return None
        self._unknown(data, (*_FINDING, "hint"), f"{path}.")
        code, message = (self._optional(data, key, f"{path}.{key}", str) for key in _FINDING)
        if code is None and "code" not in data:
            self.faults.append(f"`{path}.code`: missing")
        return Finding(
            code=code or "",
            message=message if message is not None else code or "",
            hint=self._optional(data, "hint", f"{path}.hint", str),
        )

    def _distinct(self, gpus: tuple[Gpu, ...]) -> None:
        """An index, or a UUID, names one GPU, as `--gpu-policy` takes it."""
        first: dict[tuple[str, object], int] = {}
        for position, gpu in enumerate(gpus):
            for key, value in (("index", gpu.index), ("uuid", gpu.uuid)):
                other = first.setdefault((key, value), position)
                if other != position and value is not None:
                    fault = f"`gpus[{position}].{key}`: `{value}` is `gpus[{other}]`'s too"
                    self.faults.append(fault)

    def _version(self, text: object, path: str) -> DottedVersion | None:
        return self._read(text, path, plausible.version)

    def _read(self, text: object, path: str, reader: Callable[[str], _T]) -> _T | None:
        if text is not None and not isinstance(text, str):
            self.faults.append(f"`{path}`: expected str, got {type(text).__name__}")
            return None
        try:
            return None if text is None else reader(text)
        except ValueError as error:
            self.faults.append(f"`{path}`: {error}")
            return None

    def _unknown(self, data: Mapping[str, Any], known: tuple[str, ...], path: str) -> None:
        names = ", ".join(f"`{name}`" for name in known)
        self.faults += [
            f"`{path}{plausible.shown(str(key))}`: unknown; known are {names}"
            for key in data
            if key not in known
        ]

    def _list(self, data: Mapping[str, Any], key: str) -> list[Any]:
        value = data.get(key, [])
        if isinstance(value, list):
            return value
        got = "null" if value is None else type(value).__name__
        self.faults.append(f"`{key}`: expected a list, got {got}")
        return []

    def _number(self, data: Mapping[str, Any], key: str, path: str) -> int | None:
        value = self._optional(data, key, f"{path}.{key}", int)
        if value is not None and value < 0:
            self.faults.append(f"`{path}.{key}`: expected 0 or more, got {value}")
        return value

    def _optional(self, data: Mapping[str, Any], key: str, path: str, kind: type[_T]) -> _T | None:
        value = data.get(key)
        if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
            return value
        self.faults.append(f"`{path}`: expected {kind.__name__}, got {type(value).__name__}")
        return None


def _names(choices: object) -> str:
    return ", ".join(f"`{choice}`" for choice in get_args(choices))
