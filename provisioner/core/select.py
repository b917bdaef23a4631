"""Which profiles a host can run, which one is best, and the reason for every rejection."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from provisioner.core.findings import ABSENT, BROKEN, KINDS
from provisioner.core.judge import Reason, Verdict, judge, runs_line
from provisioner.core.policy import ALL, GpuPolicy, Kind, counted, gpu_text
from provisioner.errors import ProfileError, SelectionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.core.facts import Facts
    from provisioner.core.host import Finding, Gpu, Host
    from provisioner.core.profile import Profile
    from provisioner.core.project import Defined

EXTRA_NOT_DEFINED: Final = "extra-not-defined"
NO_REQUIREMENTS: Final = "no-requirements"
OUT_OF_QUESTION: Final = frozenset({EXTRA_NOT_DEFINED, NO_REQUIREMENTS})

_HOST_WARNINGS: Final = frozenset(KINDS) - {"no-gpu", "gpu-unknown-to-driver", *BROKEN}
"""What `no-gpu` means is no warning; of a GPU that the driver does not know, reasons tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A profile, and why it does not fit; no reasons mean that it does.

    `without` are default groups of the project that belong to other profiles. `gaps` are
    packages that its lock, or its requirements, would install and the host cannot run; they
    do not reject a CUDA line, but another one without gaps comes first. `gpus` would run it.
    """

    profile: Profile
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()
    gaps: tuple[Reason, ...] = ()
    gpus: tuple[Gpu, ...] = ()

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


def consider(
    profiles: Iterable[Profile],
    host: Host,
    facts: Facts,
    defined: Defined | None,
    policy: GpuPolicy = ALL,
) -> tuple[Candidate, ...]:
    """Every profile with its verdict, best first.

    The newest CUDA comes first, and a minor line before its major.

    Raises:
        UsageError: the policy names a GPU that is not there.
    """
    profiles = tuple(profiles)
    of_profiles = {name for profile in profiles for name in profile.extras}
    return tuple(
        _candidate(profile, judge(profile, host, facts, policy), defined, of_profiles)
        for profile in sorted(profiles, key=_rank, reverse=True)
    )


def with_artefacts(
    candidate: Candidate,
    *,
    reasons: tuple[Reason, ...] = (),
    gaps: tuple[Reason, ...] = (),
    warnings: tuple[Reason, ...] = (),
) -> Candidate:
    """The candidate with what was found in the packages that it would install."""
    return replace(
        candidate,
        reasons=(*candidate.reasons, *reasons),
        gaps=(*candidate.gaps, *gaps),
        warnings=(*candidate.warnings, *warnings),
    )


def leaving_out(candidate: Candidate, gpus: tuple[Gpu, ...]) -> Candidate:
    """The candidate with a warning for each GPU that cannot run it, which the policy allows."""
    name = candidate.profile.name
    return with_artefacts(
        candidate,
        warnings=tuple(
            Reason(code="gpu-left-out", message=f"{gpu_text(gpu)} cannot run `{name}`")
            for gpu in gpus
        ),
    )


def select(  # noqa: PLR0913 - what is chosen among, for whom, and the user's three words
    candidates: tuple[Candidate, ...],
    host: Host,
    facts: Facts,
    *,
    forced: str | None = None,
    obey: bool = False,
    policy: GpuPolicy = ALL,
) -> Selection:
    """Choose a profile; `forced` names one, `obey` takes it even where it does not fit.

    Raises:
        ProfileError: there is no profile of the forced name.
        SelectionError: nothing fits, the forced one does not, or the machine is broken.
    """
    # CUDA lines without gaps, CUDA lines with gaps, the CPU; each best first.
    usable = tuple(
        sorted(
            (candidate for candidate in candidates if candidate.accepted),
            key=lambda item: (item.profile.cuda is None, bool(item.gaps)),
        )
    )
    warnings = _warnings(host, facts, policy)
    if forced is not None:
        chosen = _forced(candidates, forced, host, obey=obey)
        others = tuple(candidate for candidate in usable if candidate is not chosen)
        if host.broken:
            others = tuple(item for item in others if item.profile.cuda is None)
        more = (*(() if chosen.accepted else chosen.reasons), *chosen.gaps, *chosen.warnings)
        return Selection(
            chosen=chosen,
            usable=(chosen, *others),
            candidates=candidates,
            warnings=(*warnings, *more),
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
        and not out_of_question(candidate)
    )
    has_gpu = host.driver is not None and not any(
        finding.code in {"no-gpu", "driver-no-device"} for finding in host.findings
    )
    only_cpu = all(candidate.profile.cuda is None for candidate in usable)
    if not usable or (has_gpu and only_cpu and unfit):
        message = "no profile fits this host"
        cpu = any(candidate.profile.cuda is None for candidate in usable)
        alternatives = _alternatives(unfit, host, facts, policy)
        reasons = dict.fromkeys(r.message for item in unfit or candidates for r in item.reasons)
        hint = "`gpuenv prepare --profile cpu` sets up the CPU environment" if cpu else None
        raise SelectionError(
            message,
            causes=(*reasons, *alternatives),
            hint=hint,
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
    chosen = usable[0]
    return Selection(
        chosen=chosen,
        usable=usable,
        candidates=candidates,
        warnings=(*warnings, *chosen.gaps, *chosen.warnings),
    )


def out_of_question(candidate: Candidate) -> bool:
    """Whether the project, or its lack, leaves a profile out, whatever the host can run."""
    return any(reason.code in OUT_OF_QUESTION for reason in candidate.reasons)


def is_for_others(candidate: Candidate) -> bool:
    """Whether it is a line for projects that name it, and this is none: no need to say so."""
    return candidate.profile.requirements is None and out_of_question(candidate)


def refuse_gaps(selection: Selection) -> None:
    """Refuse to prepare packages that the host cannot run.

    Raises:
        SelectionError: the chosen profile has gaps.
    """
    gaps = selection.chosen.gaps
    if not gaps:
        return
    name = selection.chosen.profile.name
    message = f"`{name}` would install packages that this host cannot run"
    hints = [gap.hint for gap in gaps if gap.hint]
    # What has no file cannot be forced either.
    if any(gap.code != "artefact-no-file" for gap in gaps):
        hints.append(f"`--profile {name} --force` installs them all the same")
    raise SelectionError(
        message,
        causes=tuple(gap.message for gap in gaps),
        hint=next(iter(hints), None),
        code="no-artefact",
        data=selection_data(selection.candidates, selection.warnings, selection),
    )


def selection_data(
    candidates: tuple[Candidate, ...],
    warnings: tuple[Reason, ...],
    selection: Selection | None = None,
) -> dict[str, Any]:
    """The fields of `select --json`; without a selection, what is known all the same."""

    def reasons(items: Iterable[Reason]) -> list[dict[str, str | None]]:
        return [
            {
                "code": item.code,
                "message": item.message,
                "source": item.source,
                "hint": item.hint,
            }
            for item in items
        ]

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
                "warnings": reasons((*candidate.gaps, *candidate.warnings)),
                "gpus": [gpu.index for gpu in candidate.gpus],
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
        absent = [f.message for f in host.findings if f.code in {*ABSENT, "gpus-unknown"}]
        return absent[0] if absent else "no CUDA profile was chosen"
    driver = host.driver
    words = []
    if driver and driver.version:
        words.append(f"driver `{driver.version}`")
    if driver and driver.cuda:
        words.append(f"runs CUDA `{driver.cuda}`")
    capabilities = sorted({g.compute_capability for g in host.gpus if g.compute_capability})
    covered = [f"`{item}`" for item in capabilities if runs_line(item, profile.cuda, facts)]
    if covered:
        words.append(f"CUDA {profile.cuda} has code for compute capability {', '.join(covered)}")
    return ", ".join(words) or "nothing speaks against it"


def _candidate(
    profile: Profile, verdict: Verdict, defined: Defined | None, of_profiles: set[str]
) -> Candidate:
    reasons = verdict.reasons
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    if defined is not None:
        extras = tuple(name for name in profile.extras if name in defined.extras)
        groups = tuple(
            name for name in profile.extras if name in defined.groups and name not in defined.extras
        )
        without = tuple(sorted((defined.default_groups & of_profiles) - set(profile.extras)))
        if profile.cuda is not None and not (extras or groups):
            names = ", ".join(f"`{name}`" for name in profile.extras) or "any extra"
            message = f"`{profile.name}` needs one of {names}, the project defines none"
            reasons = (Reason(code=EXTRA_NOT_DEFINED, message=message), *reasons)
    elif profile.requirements is None:
        message = f"`{profile.name}` has no requirements and is for projects only"
        reasons = (Reason(code=NO_REQUIREMENTS, message=message), *reasons)
    candidate = Candidate(
        profile=profile,
        extras=extras,
        groups=groups,
        without=without,
        reasons=reasons,
        gpus=verdict.gpus,
    )
    return leaving_out(candidate, verdict.left_out)


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
    blockers = tuple(reason for reason in candidate.reasons if reason.code in OUT_OF_QUESTION)
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


def _alternatives(
    unfit: tuple[Candidate, ...], host: Host, facts: Facts, policy: GpuPolicy
) -> list[str]:
    """What each other policy would choose, and which GPUs would lose by it.

    Only rules about the host are asked again, since no policy changes the others.
    """
    said = []
    for kind in _OTHERS.get(policy.kind, ()):
        other = GpuPolicy(kind=kind)
        for candidate in unfit:
            # What a package that it would install says is not asked again, and stands.
            own = judge(candidate.profile, host, facts, policy).reasons
            if any(reason not in own for reason in candidate.reasons):
                continue
            verdict = judge(candidate.profile, host, facts, other)
            if not verdict.reasons and verdict.left_out:
                lost = ", ".join(map(gpu_text, verdict.left_out))
                name = candidate.profile.name
                said.append(f"`--gpu-policy {kind}` takes `{name}`, without {lost}")
                break
    return said


_OTHERS: Final[dict[str, tuple[Kind, ...]]] = {"all": ("best", "any"), "best": ("any",)}
"""The policies that ask less than another one."""


def _warnings(host: Host, facts: Facts, policy: GpuPolicy) -> tuple[Reason, ...]:
    warnings = [
        Reason(code=finding.code, message=finding.message, hint=finding.hint)
        for finding in host.findings
        if finding.code in _HOST_WARNINGS
    ]
    codes = {finding.code for finding in host.findings}
    warnings += [
        Reason(code=code, message=f"{gpu_text(gpu)} {why}, and does not count")
        for gpu in host.gpus
        if gpu.status in _OUT_OF_USE and policy.kind != "list"
        for code, why in [_OUT_OF_USE[gpu.status]]
        if code not in codes
    ]
    gpus = counted(policy, host.gpus)
    unknown = [gpu for gpu in gpus if gpu.compute_capability is None]
    told = {"gpu-failed"} & {item.code for item in warnings}
    if unknown and host.driver and not (host.broken or told):
        names = ", ".join(map(gpu_text, unknown))
        warnings.append(
            Reason(
                code="capability-unknown",
                message=f"the compute capability of {names} is not known",
                hint="name those of all GPUs: `GPUENV_GPUS=9.0+8.0`, or in the target",
            )
        )
    warnings += [
        Reason(
            code="newer-than-tables",
            message=f"compute capability `{gpu.compute_capability}` is newer than the "
            f"compatibility tables, which end at `{facts.newest_capability}`",
        )
        for gpu in gpus
        if gpu.compute_capability and facts.is_newer(gpu.compute_capability)
    ]
    default = counted(ALL, host.gpus)
    integrated = [gpu for gpu in host.gpus if gpu.integrated and gpu not in default]
    if integrated and policy.kind != "list":
        names = ", ".join(map(gpu_text, integrated))
        warnings.append(
            Reason(
                code="integrated-gpu",
                message=f"{names} is integrated and does not count beside a discrete GPU",
                hint=f"`--gpu-policy {integrated[0].index}` chooses for it alone",
            )
        )
    return tuple(dict.fromkeys(warnings))


_OUT_OF_USE: Final = {
    "lost": ("gpu-lost", "is lost"),
    "no-permission": ("no-permission", "may not be used by this user"),
    "failed": ("gpu-failed", "cannot be used"),
}
"""What a saved target says of a GPU without a finding of its own."""


def _mend(broken: tuple[Finding, ...]) -> str:
    act = next((finding.hint for finding in broken if finding.hint), None)
    cpu = "`--profile cpu` sets up the CPU environment"
    return f"{act}; {cpu}" if act else cpu
