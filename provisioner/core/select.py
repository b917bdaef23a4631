"""Which profiles a host can run, which one is best, and the reason for every rejection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.errors import ProfileError, SelectionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.core.facts import Facts
    from provisioner.core.host import Finding, Gpu, Host
    from provisioner.core.profile import Profile
    from provisioner.core.project import Defined
    from provisioner.core.version import ComputeCapability

EXTRA_NOT_DEFINED: Final = "extra-not-defined"

_HOST_WARNINGS: Final = frozenset(
    {"gpu-no-driver", "driver-no-device", "gpus-unknown", "gpu-lost", "no-permission", "gpu-failed"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """Why a profile was rejected, or what to mind about one that was not."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A profile, and why it does not fit; no reasons mean that it does.

    `without` are default groups of the project that belong to other profiles.
    """

    profile: Profile
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether the host can run it and the project knows it."""
        return not self.reasons


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The chosen profile, every other usable one best first, and every candidate."""

    chosen: Candidate
    usable: tuple[Candidate, ...]
    candidates: tuple[Candidate, ...]
    warnings: tuple[Reason, ...] = ()


def runs_code_for(capability: ComputeCapability, code: Iterable[ComputeCapability]) -> bool:
    """Whether a GPU runs machine code built for one of `code`.

    Machine code runs on the same major version with the same or a higher minor one
    (CUDA programming guide, binary compatibility).
    """
    return any(
        built.major == capability.major and built.minor <= capability.minor for built in code
    )


def judge(profile: Profile, host: Host, facts: Facts) -> tuple[Reason, ...]:
    """Every reason why a host cannot run a profile."""
    reasons = [*_needs(profile, host)]
    if profile.cuda is not None:
        reasons += _driver(profile, host, facts)
        reasons += _code(profile, host, facts)
    return tuple(reasons)


def consider(
    profiles: Iterable[Profile], host: Host, facts: Facts, defined: Defined | None
) -> tuple[Candidate, ...]:
    """Every profile with its verdict, best first.

    The newest CUDA comes first, and a minor line before its major.
    """
    candidates = []
    profiles = tuple(profiles)
    of_profiles = {name for profile in profiles for name in profile.extras}
    for profile in sorted(profiles, key=_rank, reverse=True):
        reasons = judge(profile, host, facts)
        extras: tuple[str, ...] = ()
        groups: tuple[str, ...] = ()
        without: tuple[str, ...] = ()
        if defined is not None:
            extras = tuple(name for name in profile.extras if name in defined.extras)
            groups = tuple(
                name
                for name in profile.extras
                if name in defined.groups and name not in defined.extras
            )
            others = (defined.default_groups & of_profiles) - set(profile.extras)
            without = tuple(sorted(others))
            if profile.cuda is not None and not (extras or groups):
                names = ", ".join(f"`{name}`" for name in profile.extras) or "any extra"
                reasons = (
                    Reason(
                        code=EXTRA_NOT_DEFINED,
                        message=f"`{profile.name}` needs one of {names}, the project defines none",
                    ),
                    *reasons,
                )
        elif profile.requirements is None:
            reasons = (
                Reason(
                    code="no-requirements",
                    message=f"`{profile.name}` has no requirements and is for projects only",
                ),
                *reasons,
            )
        candidates.append(
            Candidate(
                profile=profile, extras=extras, groups=groups, without=without, reasons=reasons
            )
        )
    return tuple(candidates)


def select(
    candidates: tuple[Candidate, ...],
    host: Host,
    facts: Facts,
    *,
    forced: str | None = None,
    obey: bool = False,
) -> Selection:
    """Choose a profile; `forced` names one, `obey` takes it even where it does not fit.

    Raises:
        ProfileError: there is no profile of the forced name.
        SelectionError: nothing fits, the forced one does not, or the machine is broken.
    """
    usable = tuple(candidate for candidate in candidates if candidate.accepted)
    warnings = _warnings(host, facts)
    if forced is not None:
        chosen = _forced(candidates, forced, host, obey=obey)
        others = tuple(candidate for candidate in usable if candidate is not chosen)
        if host.broken:
            others = tuple(item for item in others if item.profile.cuda is None)
        if not chosen.accepted:
            warnings = (*warnings, *chosen.reasons)
        return Selection(
            chosen=chosen, usable=(chosen, *others), candidates=candidates, warnings=warnings
        )
    if host.broken:
        message = "the GPU driver of this host is broken, so that nothing can be chosen"
        raise SelectionError(
            message,
            causes=tuple(finding.message for finding in host.broken),
            hint=_mend(host.broken),
            code=host.broken[0].code,
            data=selection_data(candidates, warnings),
        )
    unfit = tuple(
        candidate
        for candidate in candidates
        if candidate.profile.cuda is not None
        and not candidate.accepted
        and all(reason.code != EXTRA_NOT_DEFINED for reason in candidate.reasons)
    )
    has_gpu = host.driver is not None and not any(
        finding.code in {"no-gpu", "driver-no-device"} for finding in host.findings
    )
    only_cpu = all(candidate.profile.cuda is None for candidate in usable)
    if not usable or (has_gpu and only_cpu and unfit):
        message = "no profile fits this host"
        cpu = any(candidate.profile.cuda is None for candidate in usable)
        raise SelectionError(
            message,
            causes=tuple(reason.message for item in unfit or candidates for reason in item.reasons),
            hint="`gpuenv prepare --profile cpu` sets up the CPU environment" if cpu else None,
            data=selection_data(candidates, warnings),
        )
    if has_gpu and only_cpu:
        warnings = (
            *warnings,
            Reason(
                code=EXTRA_NOT_DEFINED,
                message="the host has a GPU, and the project defines no extra of a CUDA profile",
            ),
        )
    return Selection(chosen=usable[0], usable=usable, candidates=candidates, warnings=warnings)


def selection_data(
    candidates: tuple[Candidate, ...],
    warnings: tuple[Reason, ...],
    selection: Selection | None = None,
) -> dict[str, object]:
    """The fields of `select --json`; without a selection, what is known all the same."""

    def reasons(items: tuple[Reason, ...]) -> list[dict[str, str]]:
        return [{"code": item.code, "message": item.message} for item in items]

    usable = selection.usable if selection else tuple(c for c in candidates if c.accepted)
    return {
        "profile": selection.chosen.profile.name if selection else None,
        "extras": [*selection.chosen.extras, *selection.chosen.groups] if selection else [],
        "usable": [candidate.profile.name for candidate in usable],
        "candidates": [
            {
                "profile": candidate.profile.name,
                "accepted": candidate.accepted,
                "reasons": reasons(candidate.reasons),
            }
            for candidate in candidates
        ],
        "warnings": reasons(warnings),
    }


def explain(candidate: Candidate, host: Host, facts: Facts, *, forced: bool = False) -> str:
    """One line that says why a profile was chosen."""
    profile = candidate.profile
    if forced and (profile.cuda is None or not candidate.accepted):
        return "as asked for"
    if profile.cuda is None:
        absent = [f.message for f in host.findings if f.code in {"no-gpu", *_HOST_WARNINGS}]
        return absent[0] if absent else "no CUDA profile was chosen"
    driver = host.driver
    words = []
    if driver and driver.version:
        words.append(f"driver `{driver.version}`")
    if driver and driver.cuda:
        words.append(f"runs CUDA `{driver.cuda}`")
    code = facts.code(profile.cuda)
    capabilities = sorted({g.compute_capability for g in host.gpus if g.compute_capability})
    covered = [f"`{item}`" for item in capabilities if runs_code_for(item, code)]
    if covered:
        words.append(f"CUDA {profile.cuda} has code for compute capability {', '.join(covered)}")
    return ", ".join(words) or "nothing speaks against it"


def _rank(profile: Profile) -> tuple[int, tuple[int, ...], bool, str]:
    if profile.cuda is None:
        return (-1, (), False, profile.name)
    return (
        profile.cuda.major,
        () if profile.cuda.is_line else profile.cuda.key,
        True,
        profile.name,
    )


def _forced(candidates: tuple[Candidate, ...], name: str, host: Host, *, obey: bool) -> Candidate:
    for candidate in candidates:
        if candidate.profile.name == name:
            break
    else:
        names = ", ".join(f"`{item.profile.name}`" for item in candidates)
        message = f"there is no profile `{name}`"
        raise ProfileError(message, causes=(f"known are {names}",), code="profile-unknown")
    if candidate.accepted and not (host.broken and candidate.profile.cuda is not None):
        return candidate
    blockers = tuple(
        reason
        for reason in candidate.reasons
        if reason.code in {EXTRA_NOT_DEFINED, "no-requirements"}
    )
    if obey and not blockers:
        return candidate
    message = f"profile `{name}` does not fit this host"
    if blockers:
        message = f"profile `{name}` cannot be used here"
    broken = tuple(finding.message for finding in host.broken if candidate.profile.cuda is not None)
    raise SelectionError(
        message,
        causes=(*broken, *(reason.message for reason in candidate.reasons)),
        hint=None if blockers else "`--force` takes it all the same",
        code="profile-does-not-fit",
        data=selection_data(candidates, ()),
    )


def _needs(profile: Profile, host: Host) -> list[Reason]:
    if not profile.needs:
        return []
    from packaging.specifiers import SpecifierSet

    driver = host.driver
    values: dict[str, list[str]] = {
        "driver": [str(driver.version)] if driver and driver.version else [],
        "cuda": [str(driver.cuda)] if driver and driver.cuda else [],
        "compute-capability": [
            str(gpu.compute_capability) for gpu in host.gpus if gpu.compute_capability
        ],
    }
    names = {"driver": "driver", "cuda": "CUDA", "compute-capability": "compute capability"}
    return [
        Reason(
            code=f"needs-{key}",
            message=f"`{profile.name}` needs {names[key]} {specifier}, host has "
            + (", ".join(f"`{value}`" for value in values[key]) or "none"),
        )
        for key, specifier in profile.needs
        if not values[key]
        or not all(SpecifierSet(specifier).contains(v, prereleases=True) for v in values[key])
    ]


def _driver(profile: Profile, host: Host, facts: Facts) -> list[Reason]:
    """The driver floor of the CUDA line.

    The CUDA version that the user-mode driver runs decides where it is known, since a
    compatibility package raises it above what the kernel driver says; from CUDA 11 on any
    minor version of the same major runs.
    """
    assert profile.cuda is not None  # noqa: S101 - narrowed by the caller
    floor = facts.floor(profile.cuda)
    name = profile.name
    if floor is None:
        return [
            Reason(
                code="cuda-unknown",
                message=f"`{name}` is for CUDA {profile.cuda}, which the compatibility tables "
                "do not know",
            )
        ]
    # Under WSL 2 the driver is Windows's own, and numbered as there.
    windows = host.platform.kind == "wsl2"
    lowest = floor.for_system("windows" if windows else host.platform.system)
    driver = host.driver
    version = driver.version if driver else None
    cuda = driver.cuda if driver else None
    code = None
    if driver is None:
        code, has = "no-driver", "host has none"
    elif cuda is not None and cuda >= floor.cuda:
        return []
    elif version is not None and version < lowest:
        code, has = "driver-too-old", f"host has `{version}`"
    elif version is None and cuda is None:
        code, has = "driver-unknown", "the host's version is unknown"
    if code:
        return [Reason(code=code, message=f"`{name}` needs driver >={lowest}, {has}")]
    if cuda is None:
        return []
    return [
        Reason(
            code="cuda-too-old",
            message=f"`{name}` needs a driver that runs CUDA >={floor.cuda}, host has `{cuda}`",
        )
    ]


def _code(profile: Profile, host: Host, facts: Facts) -> list[Reason]:
    assert profile.cuda is not None  # noqa: S101 - narrowed by the caller
    if not host.gpus:
        known = host.driver is not None and any(f.code == "gpus-unknown" for f in host.findings)
        if known or host.driver is None:
            return []
        return [Reason(code="no-gpu", message=f"`{profile.name}` needs a GPU, host has none")]
    code = facts.code(profile.cuda)
    return [
        Reason(
            code="no-code",
            message=f"`{profile.name}` has no code for compute capability `{capability}`"
            + _named([gpu for gpu in host.gpus if gpu.compute_capability == capability]),
        )
        for capability in sorted({g.compute_capability for g in host.gpus if g.compute_capability})
        if not runs_code_for(capability, code) and not _newer_than_tables(capability, facts)
    ]


def _newer_than_tables(capability: ComputeCapability, facts: Facts) -> bool:
    """Newer than every table: the newest line's PTX is the best guess, and is said."""
    return capability.major > facts.newest_capability.major


def _named(gpus: list[Gpu]) -> str:
    names = sorted({gpu.name for gpu in gpus if gpu.name})
    return f" ({', '.join(names)})" if names else ""


def _warnings(host: Host, facts: Facts) -> tuple[Reason, ...]:
    warnings = [
        Reason(code=finding.code, message=finding.message)
        for finding in host.findings
        if finding.code in _HOST_WARNINGS
    ]
    unknown = [gpu.index for gpu in host.gpus if gpu.compute_capability is None]
    told = {"gpu-lost", "gpu-failed", "no-permission"} & {item.code for item in warnings}
    if unknown and not (host.broken or told):
        names = ", ".join(f"GPU {index}" for index in unknown)
        warnings.append(
            Reason(
                code="capability-unknown",
                message=f"the compute capability of {names} is not known, and does not count",
            )
        )
    warnings += [
        Reason(
            code="newer-than-tables",
            message=f"compute capability `{gpu.compute_capability}` is newer than the "
            f"compatibility tables, which end at `{facts.newest_capability}`",
        )
        for gpu in host.gpus
        if gpu.compute_capability and _newer_than_tables(gpu.compute_capability, facts)
    ]
    return tuple(warnings)


def _mend(broken: tuple[Finding, ...]) -> str:
    act = next((finding.hint for finding in broken if finding.hint), None)
    cpu = "`--profile cpu` sets up the CPU environment"
    return f"{act}; {cpu}" if act else cpu
