"""Values that several tests of the core start from."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters.profiles import (
    load_facts,
    load_profiles,
    profile_files,
    shipped_folder,
)
from provisioner.core.host import Driver, Gpu, Host, Platform
from provisioner.core.policy import ALL, GpuPolicy
from provisioner.core.profile import read_profile
from provisioner.core.select import consider, select
from provisioner.core.target import apply_short, parse_short
from provisioner.core.version import ComputeCapability, DottedVersion

if TYPE_CHECKING:
    from provisioner.core.facts import Facts
    from provisioner.core.profile import Profile
    from provisioner.core.project import Defined
    from provisioner.core.select import Selection

LINUX: Final = Platform(system="linux", machine="x86_64", kind="linux", libc=("glibc", "2.35"))
EMPTY: Final = Host(platform=LINUX, sources=(("platform", "this machine"),))
"""A Linux machine of which nothing else is known."""


def version(text: str) -> DottedVersion:
    return DottedVersion.parse(text)


def capability(text: str) -> ComputeCapability:
    return ComputeCapability.parse(text)


def gpu(index: int, text: str | None = None, **fields: Any) -> Gpu:  # noqa: ANN401 - handed on
    """A GPU; without a compute capability it does not tell it."""
    known = None if text is None else capability(text)
    return Gpu(index=index, compute_capability=known, **fields)


def gpus(*capabilities: str) -> tuple[Gpu, ...]:
    return tuple(
        Gpu(index=index, compute_capability=capability(text))
        for index, text in enumerate(capabilities)
    )


def host(driver: str | None, cuda: str | None, *capabilities: str) -> Host:
    """A Linux machine with a driver, of which either number may be unknown, and GPUs."""
    return Host(
        platform=LINUX,
        driver=Driver(
            version=None if driver is None else version(driver),
            cuda=None if cuda is None else version(cuda),
        ),
        gpus=gpus(*capabilities),
    )


def with_gpus(machine: Host, *cards: Gpu) -> Host:
    """The same machine with other GPUs."""
    return replace(machine, gpus=cards)


def short_host(text: str, here: Host = EMPTY) -> Host:
    """The host that a short form means."""
    return apply_short(parse_short(text), here).host


@cache
def shipped_profiles() -> tuple[Profile, ...]:
    return load_profiles(profile_files((shipped_folder(),)))


@cache
def shipped_facts() -> Facts:
    return load_facts()


def make_profile(name: str, cuda: str | None, **keys: object) -> Profile:
    return read_profile(
        {"schema": 1, "name": name, "cuda": cuda, "requirements": [], **keys}, f"{name}.yaml"
    )


def major_lines() -> tuple[Profile, ...]:
    """The shipped profiles that serve without a project too."""
    return tuple(item for item in shipped_profiles() if item.requirements is not None)


def minor_lines() -> tuple[Profile, ...]:
    """The lines that projects with PyTorch name their extras after, without need of a project."""
    return tuple(
        make_profile(f"cu{cuda.replace('.', '')}", cuda)
        for cuda in ("11.8", "12.1", "12.4", "12.6", "12.8", "12.9", "13.0", "13.2")
    )


def choose(  # noqa: PLR0913 - everything that `select` may be told
    machine: Host,
    *,
    profiles: tuple[Profile, ...] | None = None,
    defined: Defined | None = None,
    forced: str | None = None,
    obey: bool = False,
    policy: GpuPolicy = ALL,
) -> Selection:
    """Select among the shipped profiles, or others, with the shipped tables."""
    facts = shipped_facts()
    candidates = consider(profiles or shipped_profiles(), machine, facts, defined, policy)
    return select(candidates, machine, facts, forced=forced, obey=obey, policy=policy)
