"""The short form of a target, and single facts that a user overrides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from provisioner.core import plausible
from provisioner.core.findings import ABSENT as ABSENT_CODES
from provisioner.core.findings import BROKEN, BROKEN_UNTOLD, found
from provisioner.core.host import Driver, Finding, Gpu, Host, Target, with_absence_findings
from provisioner.core.version import ComputeCapability, DottedVersion, is_version
from provisioner.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Absent = Literal["absent"]
ABSENT: Final = "absent"

_KEYS: Final = ("driver", "cuda", "gpus", "machine", "glibc", "musl", "python")
_EXAMPLE: Final = "driver=580.65.06,cuda=13.0,gpus=9.0"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShortTarget:
    """The facts that a short form names; None: not named."""

    driver: DottedVersion | Absent | None = None
    cuda: DottedVersion | Absent | None = None
    gpus: tuple[ComputeCapability, ...] | None = None
    machine: str | None = None
    libc: tuple[Literal["glibc", "musl"], str] | None = None
    python: str | None = None

    @property
    def names_gpu_facts(self) -> bool:
        """Whether the driver and GPUs of this machine do not count."""
        return not (self.driver is None and self.cuda is None and self.gpus is None)


def is_short(text: str) -> bool:
    """Whether a text is meant as the short form, not as the name of a file."""
    return "=" in text


def parse_short(text: str) -> ShortTarget:
    """Read `driver=570.124.06,cuda=12.8,gpus=9.0+7.0,machine=x86_64,glibc=2.35,python=3.12`.

    Raises:
        TargetError: all faults at once.
    """
    faults: list[str] = []
    values = _parts(text, faults)
    if {"glibc", "musl"} <= values.keys():
        faults.append("`glibc=` and `musl=` exclude each other")

    def read(key: str, reader: Callable[[str], object]) -> object:
        if key not in values:
            return None
        try:
            return reader(values[key])
        except ValueError as error:
            faults.append(f"`{key}=`: {error}")
            return None

    short = ShortTarget(
        driver=read("driver", _version_or_absent),  # type: ignore[arg-type]  # reader's type
        cuda=read("cuda", _cuda_or_absent),  # type: ignore[arg-type]
        gpus=read("gpus", _capabilities),  # type: ignore[arg-type]
        machine=read("machine", plausible.machine),  # type: ignore[arg-type]
        libc=_libc(values, read),
        python=read("python", plausible.python),  # type: ignore[arg-type]
    )
    if short.gpus and not {"driver", "cuda"} & values.keys():
        faults.append("`gpus=` needs `driver=` or `cuda=` beside it")
    if faults:
        message = f"target `{plausible.shown(text)}` is not valid"
        raise TargetError(message, causes=tuple(faults), hint=f"`--target {_EXAMPLE}`")
    return short


def _parts(text: str, faults: list[str]) -> dict[str, str]:
    """The values by their keys."""
    values: dict[str, str] = {}
    for part in text.split(","):
        key, separator, value = part.partition("=")
        key = key.strip()
        if not separator and "gpus" in values and is_version(key):
            faults.append(f"`{part.strip()}`: join GPUs with `+`, as in `gpus=9.0+{key}`")
        elif not separator or key not in _KEYS:
            faults.append(
                f"`{plausible.shown(part)}` is none of {', '.join(f'`{name}=`' for name in _KEYS)}"
            )
        elif key in values:
            faults.append(f"`{key}=` stands twice")
        else:
            values[key] = value.strip()
    return values


def short_text(target: Target, python: tuple[int, int] | None = None) -> str:
    """The short form of a target: what decides on the choice, and nothing of whose machine it is.

    `python` is the version where the target names none.
    """
    host = target.host
    driver = host.driver
    facts = {
        "driver": str(driver.version) if driver and driver.version else "none",
        "cuda": str(driver.cuda) if driver and driver.cuda else "",
        "gpus": _capabilities_text(host.gpus),
        "machine": host.platform.machine,
    }
    if host.platform.libc:
        family, version = host.platform.libc
        facts[family] = version
    facts["python"] = target.python or ".".join(map(str, python or ()))
    return ",".join(f"{name}={value}" for name, value in facts.items() if value)


def apply_short(short: ShortTarget, here: Host) -> Target:
    """Fill what a short form leaves out from this machine.

    `driver=`, `cuda=` and `gpus=` are taken together: where one is named, `here` is not
    asked for the others.
    """
    platform = here.platform
    platform = replace(
        platform,
        machine=short.machine or platform.machine,
        libc=short.libc or platform.libc,
    )
    if short.libc and platform.system != "linux":
        platform = replace(platform, system="linux", kind="linux")
    elif short.names_gpu_facts and platform.system == "linux":
        # Another driver is another machine, whose odd class is not known.
        platform = replace(platform, kind="linux")
    machine = plausible.machine_of(platform.machine, platform.system)
    platform = replace(platform, machine=machine)
    where = "--target" if short.libc or short.machine else "this machine"
    if not short.names_gpu_facts:
        sources = tuple(sorted({**dict(here.sources), "platform": where}.items()))
        return Target(host=replace(here, platform=platform, sources=sources), python=short.python)
    driver = None
    if ABSENT not in {short.driver, short.cuda} and (short.driver or short.cuda):
        driver = Driver(
            version=short.driver if isinstance(short.driver, DottedVersion) else None,
            cuda=short.cuda if isinstance(short.cuda, DottedVersion) else None,
        )
    host = Host(
        platform=platform,
        driver=driver,
        gpus=_gpus(short.gpus or ()),
        sources=(("driver", "--target"), ("gpus", "--target"), ("platform", where)),
    )
    if driver and short.gpus is None:
        host = host.with_findings(
            _gpus_unknown("the target names no GPU", "`gpus=9.0` in the target names one")
        )
    return Target(host=with_absence_findings(host), python=short.python)


_VARIABLES: Final = (
    ("driver", "GPUENV_DRIVER"),
    ("driver", "UV_CUDA_DRIVER_VERSION"),
    ("cuda", "GPUENV_CUDA"),
    ("cuda", "CONDA_OVERRIDE_CUDA"),
    ("gpus", "GPUENV_GPUS"),
)
"""Overrides of single facts, the stronger one of a fact first."""


def override_variables(variables: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The fact -> (variable, text) that a user overrides."""
    found: dict[str, tuple[str, str]] = {}
    for fact, variable in _VARIABLES:
        if variable in variables and fact not in found:
            found[fact] = (variable, variables[variable].strip())
    return found


def apply_overrides(host: Host, overrides: Mapping[str, tuple[str, str]]) -> Host:
    """Put overridden facts into the place of detected ones, and say so in `sources`.

    A driver that is overridden alone takes the detected CUDA version with it, which
    belonged to the other driver. Without a CUDA version there is no CUDA driver.

    Raises:
        TargetError: a variable cannot be read; all of them at once.
    """
    if not overrides:
        return host
    faults: list[str] = []

    def read(fact: str, reader: Callable[[str], object]) -> object:
        variable, text = overrides[fact]
        try:
            return reader(text)
        except ValueError as error:
            faults.append(f"`{variable}`: {error}")
            return None

    version = host.driver.version if host.driver else None
    cuda = host.driver.cuda if host.driver else None
    present = host.driver is not None
    if "driver" in overrides:
        value = read("driver", _version_or_absent)
        present = value != ABSENT
        version, cuda = (value if isinstance(value, DottedVersion) else None), None
    if "cuda" in overrides:
        value = read("cuda", _cuda_or_absent)
        present = value != ABSENT and (present or "driver" not in overrides)
        cuda = value if isinstance(value, DottedVersion) else None
    compat = host.driver.compat if host.driver and not {"driver", "cuda"} & set(overrides) else None
    gpus = host.gpus
    if "gpus" in overrides:
        gpus = _gpus(read("gpus", _capabilities) or ())  # type: ignore[arg-type]
    if faults:
        message = "an override is not valid"
        raise TargetError(message, causes=tuple(faults))
    contradictions = _contradictions(host, overrides, version, cuda, gpus)
    sources = dict(host.sources)
    sources.update((fact, f"overridden by `{name}`") for fact, (name, _) in overrides.items())
    no_driver = not present and bool({"driver", "cuda"} & overrides.keys())
    no_gpus = not gpus and "gpus" in overrides
    replaced = _replaced(set(overrides), no_driver=no_driver, no_gpus=no_gpus)
    kept = tuple(finding for finding in host.findings if finding.code not in replaced)
    changed = replace(
        host,
        driver=Driver(version=version, cuda=cuda, compat=compat) if present else None,
        gpus=gpus,
        findings=(*kept, *contradictions),
        sources=tuple(sorted(sources.items())),
    )
    if present and not gpus and "gpus" not in overrides and not changed.broken:
        # Whoever names a driver means a machine with GPUs, such as one to build for.
        changed = changed.with_findings(
            _gpus_unknown("no GPU is known", "`GPUENV_GPUS=9.0` names one")
        )
    asked = "gpus" in overrides and not {"driver", "cuda"} & overrides.keys()
    if asked and changed.gpus and changed.driver is None and not changed.broken:
        variable = overrides["gpus"][0]
        message = f"`{variable}` names a GPU, and no NVIDIA driver is known"
        changed = changed.with_findings(found("gpu-no-driver", message, _NAME_DRIVER))
    return with_absence_findings(changed)


_NAME_DRIVER: Final = (
    "name the driver beside it, as in `GPUENV_DRIVER=580.65.06` or `GPUENV_CUDA=13.0`, or "
    "install NVIDIA's driver to use the GPU of this machine"
)


def _contradictions(
    host: Host,
    overrides: Mapping[str, tuple[str, str]],
    version: DottedVersion | None,
    cuda: DottedVersion | None,
    gpus: tuple[Gpu, ...],
) -> tuple[Finding, ...]:
    """The overrides that say something else than the machine does, where it says anything."""
    driver = host.driver
    facts: dict[str, tuple[object, object]] = {
        "driver": (driver and driver.version, version),
        "cuda": (driver and driver.cuda, cuda),
        "gpus": (_capabilities_text(host.gpus), _capabilities_text(gpus)),
    }
    return tuple(
        found(
            "override-contradicts",
            f"`{overrides[fact][0]}` says `{told or 'none'}`, this machine has `{real}`",
        )
        for fact, (real, told) in facts.items()
        if fact in overrides and real and real != told
    )


def _capabilities_text(gpus: tuple[Gpu, ...]) -> str:
    """The compute capabilities in the short form, whatever order the GPUs have."""
    known = sorted(gpu.compute_capability for gpu in gpus if gpu.compute_capability)
    return "+".join(map(str, known))


def _gpus_unknown(message: str, hint: str) -> Finding:
    return found("gpus-unknown", f"{message}, so that only the driver decides", hint)


_ABOUT: Final = {
    "driver": ABSENT_CODES | {"version-mismatch", "nvml-failed", "driver-unreadable"},
    "cuda": ABSENT_CODES | {"version-mismatch", "nvml-failed", "driver-no-compute-lib"},
    "gpus": ABSENT_CODES
    | {"gpus-unreadable", "gpu-lost", "gpu-failed", "no-permission", "no-mig-instance"}
    | {"gpus-unknown"},
}
"""The findings that no longer hold when a fact is replaced."""


def _replaced(facts: set[str], *, no_driver: bool, no_gpus: bool) -> frozenset[str]:
    """The codes of findings that no longer hold.

    Where the user says that there is nothing to use, or names both the driver and the GPUs,
    nothing of a broken driver counts.
    """
    codes = frozenset(code for fact in facts for code in _ABOUT[fact])
    if no_driver:
        codes |= _ABOUT["driver"] | _ABOUT["cuda"] | {"gpus-unknown"}
    named = "gpus" in facts and bool({"driver", "cuda"} & facts)
    return codes | BROKEN | BROKEN_UNTOLD if named or no_driver or no_gpus else codes


def _version_or_absent(text: str) -> DottedVersion | Absent:
    return ABSENT if _is_none(text) else plausible.version(text)


def _cuda_or_absent(text: str) -> DottedVersion | Absent:
    return ABSENT if _is_none(text) else plausible.cuda(text)


def _is_none(text: str) -> bool:
    return text.lower() in {"", "none"}


def _capabilities(text: str) -> tuple[ComputeCapability, ...]:
    if _is_none(text):
        return ()
    return tuple(plausible.capability(part.strip()) for part in text.replace(",", "+").split("+"))


def _gpus(capabilities: tuple[ComputeCapability, ...]) -> tuple[Gpu, ...]:
    return tuple(
        Gpu(index=index, compute_capability=capability)
        for index, capability in enumerate(capabilities)
    )


def _libc(
    values: Mapping[str, str], read: Callable[[str, Callable[[str], object]], object]
) -> tuple[Literal["glibc", "musl"], str] | None:
    for name in ("glibc", "musl"):
        if name in values and read(name, plausible.version):
            return ("glibc" if name == "glibc" else "musl"), values[name]
    return None
