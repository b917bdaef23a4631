"""Compatibility tables: what a CUDA line needs of a driver, and for which GPUs it has code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioner.core.version import ComputeCapability, DottedVersion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.core.host import System


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverFloor:
    """The lowest kernel driver that runs a CUDA version.

    From CUDA 11 on it holds for the whole major version (minor version compatibility).
    """

    cuda: DottedVersion
    whole_major: bool
    linux: DottedVersion
    windows: DottedVersion

    def for_system(self, system: System) -> DottedVersion:
        """The floor in the numbering of that system's drivers."""
        return self.windows if system == "windows" else self.linux


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolkitCode:
    """The compute capabilities that a toolkit minor version generates code for."""

    cuda: DottedVersion
    capabilities: tuple[ComputeCapability, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """The tables that the selection reads."""

    floors: tuple[DriverFloor, ...]
    toolkits: tuple[ToolkitCode, ...]

    def floor(self, cuda: DottedVersion) -> DriverFloor | None:
        """The driver floor of a CUDA line (`12`) or minor version (`12.8`)."""
        for row in self.floors:
            same = row.cuda.major == cuda.major if row.whole_major else row.cuda == cuda
            if same:
                return row
        return None

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


def read_facts(driver_floors: Mapping[str, Any], toolkit_code: Mapping[str, Any]) -> Facts:
    """Make the tables from `driver_floors.json` and `toolkit_code.json`."""
    floors: Sequence[Mapping[str, Any]] = driver_floors["rows"]
    toolkits: Sequence[Mapping[str, Any]] = toolkit_code["rows"]
    return Facts(
        floors=tuple(
            DriverFloor(
                cuda=DottedVersion.parse(row["cuda"]),
                whole_major=row["minor_version_compatibility"],
                linux=DottedVersion.parse(row["linux"]),
                windows=DottedVersion.parse(row["windows"]),
            )
            for row in floors
        ),
        toolkits=tuple(
            ToolkitCode(
                cuda=DottedVersion.parse(row["cuda"]),
                capabilities=tuple(
                    ComputeCapability.parse(item) for item in row["compute_capabilities"]
                ),
            )
            for row in toolkits
        ),
    )
