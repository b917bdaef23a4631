"""Compatibility tables: what a CUDA line needs of a driver, and for which GPUs it has code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from provisioner.core.coverage import Code, parse_code
from provisioner.core.version import ComputeCapability, DottedVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.core.host import Host, System

DriverGapCode = Literal["no-driver", "driver-unknown", "driver-too-old", "cuda-too-old"]

_T = TypeVar("_T")

_EMPTY: Final[Mapping[str, Any]] = {"rows": ()}


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverFloor:
    """The lowest kernel driver that runs a CUDA version.

    From CUDA 11 on it holds for the whole major version (minor version compatibility).
    """

    cuda: DottedVersion
    whole_major: bool
    linux: DottedVersion
    windows: DottedVersion
    source: str = ""

    def for_system(self, system: System) -> DottedVersion:
        """The floor in the numbering of that system's drivers."""
        return self.windows if system == "windows" else self.linux


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolkitCode:
    """The compute capabilities that a toolkit minor version generates code for."""

    cuda: DottedVersion
    capabilities: tuple[ComputeCapability, ...]
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """When a compute capability came and went.

    Driver branches are numbers such as `580`; None: it is not known, or came before the tables
    begin, or has not gone. `tegra`: it is only in chips whose driver is part of their system
    (Jetson), not the one for other GPUs.
    """

    compute_capability: ComputeCapability
    first_driver_branch: int | None = None
    last_driver_branch: int | None = None
    tegra: bool = False
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverBranch:
    """The CUDA version of the user-mode driver that a driver branch brings."""

    branch: int
    cuda: DottedVersion
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ForwardCompat:
    """The driver branches on which the compatibility package of a CUDA version runs."""

    cuda: DottedVersion
    branches: tuple[int, ...]
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchBuild:
    """The code in PyTorch's builds of one index, from one minor version to another.

    `label` is the index's (`cu128`); `first` and `last` are PyTorch's (`2.8`), None: open.
    """

    label: str
    first: DottedVersion | None
    last: DottedVersion | None
    systems: tuple[str, ...]
    machine: str
    code: Code
    source: str = ""

    @property
    def cuda(self) -> DottedVersion:
        """The CUDA version that the builds are for."""
        return cuda_of_label(self.label)

    def fits(self, label: str, machine: str, system: str) -> bool:
        """Whether it is of that index, machine and system."""
        return self.label == label and self.machine == machine and system in self.systems

    def holds(self, version: DottedVersion) -> bool:
        """Whether a version of PyTorch is meant."""
        minor = (*version.key, 0)[:2]
        first = self.first is None or (*self.first.key, 0)[:2] <= minor
        return first and (self.last is None or minor <= (*self.last.key, 0)[:2])


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverGap:
    """What a host's driver is short of for a CUDA version.

    `words` say it with both numbers, `lowest` is the driver that would do, in the numbering of
    the host's system.
    """

    code: DriverGapCode
    words: str
    lowest: DottedVersion
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """The tables that the selection reads."""

    floors: tuple[DriverFloor, ...]
    toolkits: tuple[ToolkitCode, ...]
    architectures: tuple[Architecture, ...] = ()
    branches: tuple[DriverBranch, ...] = ()
    forward_compat: tuple[ForwardCompat, ...] = ()
    compat_brands: frozenset[str] = frozenset()
    torch_builds: tuple[TorchBuild, ...] = ()

    def floor(self, cuda: DottedVersion) -> DriverFloor | None:
        """The driver floor of a CUDA line (`12`) or minor version (`12.8`)."""
        for row in self.floors:
            same = row.cuda.major == cuda.major if row.whole_major else row.cuda == cuda
            if same:
                return row
        return None

    def driver_gap(self, host: Host, cuda: DottedVersion) -> DriverGap | None:
        """What a host's driver is short of for a CUDA line (`12`) or minor version (`12.8`).

        The CUDA version that the user-mode driver runs decides where it is known, since a
        compatibility package raises it above what the kernel driver says; from CUDA 11 on any
        minor version of the same major runs. None also where no floor is known.
        """
        floor = self.floor(cuda)
        if floor is None:
            return None
        lowest = floor.for_system(driver_numbering(host))
        version = host.driver.version if host.driver else None
        runs = host.driver.cuda if host.driver else None
        if runs is not None and runs >= floor.cuda:
            return None
        needs = f"needs driver >={lowest}"
        code: DriverGapCode
        if host.driver is None:
            code, words = "no-driver", f"{needs}, host has none"
        elif version is not None and version < lowest:
            code, words = "driver-too-old", f"{needs}, host has `{version}`"
        elif runs is not None:
            code = "cuda-too-old"
            words = f"needs a driver that runs CUDA >={floor.cuda}, host has `{runs}`"
        elif version is None:
            code, words = "driver-unknown", f"{needs}, the host's version is unknown"
        else:
            return None
        return DriverGap(code=code, words=words, lowest=lowest, source=floor.source)

    def code(self, cuda: DottedVersion) -> tuple[ComputeCapability, ...]:
        """The compute capabilities that some toolkit of the line has code for, ascending.

        A minor version that is newer than the tables has the code of the newest known
        one of its line.
        """
        fitting = [row for row in self.toolkits if cuda.covers(row.cuda)]
        if not fitting:
            older = [
                row
                for row in self.toolkits
                if row.cuda.major == cuda.major and row.cuda.key <= cuda.key
            ]
            fitting = sorted(older, key=lambda row: row.cuda)[-1:]
        return tuple(sorted({item for row in fitting for item in row.capabilities}))

    @property
    def newest_capability(self) -> ComputeCapability:
        """The newest compute capability in the tables."""
        return max(item for row in self.toolkits for item in row.capabilities)

    def is_newer(self, capability: ComputeCapability) -> bool:
        """Whether a GPU is newer than every table: of such a one nothing is known."""
        return capability.major > self.newest_capability.major

    def architecture(self, capability: ComputeCapability) -> Architecture | None:
        """What is known of a compute capability."""
        return next(
            (row for row in self.architectures if row.compute_capability == capability), None
        )

    def known_to(self, branch: int) -> tuple[ComputeCapability, ...]:
        """The compute capabilities, Tegra's aside, that a driver branch drives, ascending."""
        return tuple(
            sorted(
                row.compute_capability
                for row in self.architectures
                if not row.tegra
                and (row.first_driver_branch is None or row.first_driver_branch <= branch)
                and (row.last_driver_branch is None or branch <= row.last_driver_branch)
            )
        )

    @property
    def newest_branch(self) -> int:
        """The newest driver branch in the tables; 0: there is none."""
        return max((row.branch for row in self.branches), default=0)

    def branch(self, driver: DottedVersion) -> int | None:
        """The driver branch of a driver; None: it is older or newer than the tables.

        A driver between two branches (`572.60`: Windows counts on within a branch) belongs to
        the lower one.
        """
        if driver.major > self.newest_branch:
            return None
        known = [row.branch for row in self.branches if row.branch <= driver.major]
        return max(known, default=None)

    def natural_cuda(self, driver: DottedVersion) -> DottedVersion | None:
        """The CUDA version of the user-mode driver that came with a kernel driver.

        None: the driver is older or newer than the tables.
        """
        branch = self.branch(driver)
        return next((row.cuda for row in self.branches if row.branch == branch), None)

    def compat(self, cuda: DottedVersion) -> tuple[ForwardCompat, ...]:
        """The forward compatibility packages of a CUDA line or minor version, newest first."""
        fitting = [row for row in self.forward_compat if cuda.covers(row.cuda)]
        return tuple(sorted(fitting, key=lambda row: row.cuda, reverse=True))

    def compat_branches(self, cuda: DottedVersion) -> tuple[int, ...]:
        """The driver branches on which a compatibility package of a CUDA line runs, ascending.

        None of them: nothing is known of such a package. It goes by branch, not by "this one
        and newer ones".
        """
        return tuple(sorted({item for row in self.compat(cuda) for item in row.branches}))

    def torch_build(self, label: str, version: str, machine: str, system: str) -> TorchBuild | None:
        """What is known of one version of PyTorch from one index.

        A version newer than the tables is as the newest known one.
        """
        parsed = leading_version(version)
        fitting = [row for row in self.torch_builds if row.fits(label, machine, system)]
        if parsed is None or not fitting:
            return None
        found = next((row for row in fitting if row.holds(parsed)), None)
        newest = fitting[-1]
        if found is None and newest.last is not None and newest.last < parsed:
            return newest
        return found


def driver_numbering(host: Host) -> System:
    """Whose numbers a host's driver has: under WSL 2 it is Windows's own."""
    return "windows" if host.platform.kind == "wsl2" else host.platform.system


def cuda_of_label(label: str) -> DottedVersion:
    """The CUDA version that a label such as `cu128` means: its last digit is the minor version.

    Raises:
        ValueError: it is no such label.
    """
    digits = label.removeprefix("cu")
    if not label.startswith("cu") or not digits.isdecimal() or len(digits) < 2:  # noqa: PLR2004
        message = f"`{label}` is not a label such as `cu128`"
        raise ValueError(message)
    return DottedVersion.parse(f"{digits[:-1]}.{digits[-1]}")


def leading_version(text: str) -> DottedVersion | None:
    """The numbers that a version begins with: `2.8` of `2.8.0+cu128`, or None."""
    numbers = []
    for part in text.partition("+")[0].split(".")[:2]:
        digits = ""
        for character in part:
            if not ("0" <= character <= "9"):
                break
            digits += character
        if not digits:
            break
        numbers.append(digits[:9])
    return DottedVersion.parse(".".join(numbers)) if numbers else None


def read_facts(  # noqa: PLR0913 - one for each file
    driver_floors: Mapping[str, Any],
    toolkit_code: Mapping[str, Any],
    *,
    architectures: Mapping[str, Any] = _EMPTY,
    driver_branches: Mapping[str, Any] = _EMPTY,
    forward_compat: Mapping[str, Any] = _EMPTY,
    torch_builds: Mapping[str, Any] = _EMPTY,
) -> Facts:
    """Make the tables from the JSON files of the same names."""
    versions: dict[str, DottedVersion] = {}
    capabilities: dict[str, ComputeCapability] = {}

    def version(text: str) -> DottedVersion:
        if text not in versions:
            versions[text] = DottedVersion.parse(text)
        return versions[text]

    def capability(text: str) -> ComputeCapability:
        if text not in capabilities:
            capabilities[text] = ComputeCapability.parse(text)
        return capabilities[text]

    return Facts(
        floors=rows_of(
            driver_floors,
            lambda row, source: DriverFloor(
                cuda=version(row["cuda"]),
                whole_major=row["minor_version_compatibility"],
                linux=version(row["linux"]),
                windows=version(row["windows"]),
                source=source,
            ),
        ),
        toolkits=rows_of(
            toolkit_code,
            lambda row, source: ToolkitCode(
                cuda=version(row["cuda"]),
                capabilities=tuple(map(capability, row["compute_capabilities"])),
                source=source,
            ),
        ),
        architectures=rows_of(
            architectures,
            lambda row, source: Architecture(
                compute_capability=capability(row["compute_capability"]),
                first_driver_branch=_number(row["first_driver_branch"]),
                last_driver_branch=_number(row["last_driver_branch"]),
                tegra=row.get("tegra", False),
                source=source,
            ),
        ),
        branches=rows_of(
            driver_branches,
            lambda row, source: DriverBranch(
                branch=int(row["branch"]), cuda=version(row["cuda"]), source=source
            ),
        ),
        forward_compat=rows_of(
            forward_compat,
            lambda row, source: ForwardCompat(
                cuda=version(row["cuda"]), branches=tuple(row["branches"]), source=source
            ),
        ),
        compat_brands=frozenset(forward_compat.get("brands", ())),
        torch_builds=rows_of(
            torch_builds,
            lambda row, source: TorchBuild(
                label=row["index"],
                first=version(row["first"]) if row["first"] else None,
                last=version(row["last"]) if row["last"] else None,
                systems=tuple(row["systems"]),
                machine=row["machine"],
                code=parse_code(row["architectures"]),
                source=source,
            ),
        ),
    )


def rows_of(
    table: Mapping[str, Any], make: Callable[[Mapping[str, Any], str], _T]
) -> tuple[_T, ...]:
    """Each row of a table with the whole text of the source that it names."""
    return tuple(make(row, table["sources"][row["source"]]) for row in table["rows"])


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
