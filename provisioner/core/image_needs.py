"""What a host has to have for the environment of an image, and how NVIDIA's runtime is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from packaging.specifiers import SpecifierSet

from provisioner.core.judge import runs_line
from provisioner.core.version import DottedVersion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioner.core.facts import Facts
    from provisioner.core.profile import Profile

_LOWER_BOUNDS: Final = frozenset({">=", "==", "~=", "==="})


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageNeeds:
    """What a profile needs of the host of a container; `cuda` is None for the CPU.

    `driver` is the lowest driver of Linux, and `runs` the CUDA version that its user-mode half
    has to run at least. `capabilities` are those of the tables whose GPUs run the profile, and
    `newest` the newest major version in the tables: of newer GPUs nothing is known, and PTX may
    do for them.
    """

    profile: str
    cuda: str | None = None
    driver: str | None = None
    runs: str | None = None
    capabilities: tuple[str, ...] = ()
    newest: int = 0


def image_needs(profile: Profile, facts: Facts) -> ImageNeeds:
    """What the tables, and the profile itself, ask of a host.

    Of what the profile asks only lower bounds count.
    """
    cuda = profile.cuda
    if cuda is None:
        return ImageNeeds(profile=profile.name)
    needs = dict(profile.needs)
    floor = facts.floor(cuda)
    drivers = [floor.for_system("linux")] if floor else []
    drivers += _bounds(needs.get("driver"))
    runs = [floor.cuda] if floor else []
    runs += _bounds(needs.get("cuda"))
    allowed = SpecifierSet(needs.get("compute-capability", ""))
    known = sorted({row.compute_capability for row in facts.architectures})
    return ImageNeeds(
        profile=profile.name,
        cuda=str(cuda),
        driver=str(max(drivers)) if drivers else None,
        runs=str(max(runs)) if runs else None,
        capabilities=tuple(
            str(item)
            for item in known
            if runs_line(item, cuda, facts) and allowed.contains(str(item), prereleases=True)
        ),
        newest=facts.newest_capability.major,
    )


def _bounds(specifier: str | None) -> Iterable[DottedVersion]:
    """The lower bounds of a specifier."""
    return [
        DottedVersion.parse(item.version.removesuffix(".*"))
        for item in SpecifierSet(specifier or "")
        if item.operator in _LOWER_BOUNDS
    ]


def gpu_variables(needs: Sequence[ImageNeeds]) -> dict[str, str]:
    """What NVIDIA's container runtime is told by an image; nothing where it is for the CPU alone.

    `NVIDIA_REQUIRE_CUDA` is held against the host before the container starts, so that a driver
    that is too old is refused by name: of several environments the weakest need is told, and
    none where one needs no GPU (docs.nvidia.com/datacenter/cloud-native/container-toolkit,
    "Environment variables"; `cuda` is the newest CUDA version that the host's driver runs).
    """
    lines = [item for item in needs if item.cuda is not None]
    if not lines:
        return {}
    found = {
        "NVIDIA_VISIBLE_DEVICES": "all",
        # `utility` is nvidia-smi, which tells the compute capability.
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    }
    runs = [DottedVersion.parse(item.runs) for item in lines if item.runs]
    if len(runs) == len(needs):
        lowest = min(runs)
        minor = str(lowest) if "." in str(lowest) else f"{lowest}.0"
        found["NVIDIA_REQUIRE_CUDA"] = f"cuda>={minor}"
    return found
