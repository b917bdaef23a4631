"""Whether a host can run a profile: the rules, each with its numbers, source and remedy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from provisioner.core.compat import branch_that_drives, driver_branch
from provisioner.core.coverage import has_machine_code
from provisioner.core.facts import driver_numbering
from provisioner.core.plausible import machine_of
from provisioner.core.policy import ALL, GpuPolicy, counted, gpu_text

if TYPE_CHECKING:
    from provisioner.core.facts import Facts
    from provisioner.core.host import Gpu, Host
    from provisioner.core.profile import Profile
    from provisioner.core.version import ComputeCapability, DottedVersion

_CAPABILITY: Final = "compute-capability"
_FILE_LISTS: Final = "the file lists of NVIDIA's and PyTorch's packages on PyPI"
_MACHINES: Final = frozenset({"x86_64", "aarch64"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """Why a profile was rejected, or what to mind about one that was not.

    `source` is where the rule is from, `hint` the cheapest remedy, where there is one.
    """

    code: str
    message: str
    source: str | None = None
    hint: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What speaks against a profile, and the GPUs that would run it.

    `left_out` are GPUs that cannot run it, which the policy allows.
    """

    reasons: tuple[Reason, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    left_out: tuple[Gpu, ...] = ()


def judge(profile: Profile, host: Host, facts: Facts, policy: GpuPolicy = ALL) -> Verdict:
    """Every reason why a host cannot run a profile.

    Raises:
        UsageError: the policy names a GPU that is not there.
    """
    gpus = counted(policy, host.gpus)
    reasons = _needs(profile, host, gpus)
    if profile.cuda is not None:
        reasons += _platform(profile, host)
        reasons += _driver(profile, profile.cuda, host, gpus, facts)
        reasons += () if gpus else _no_gpu(profile, host)
    against = {gpu: _gpu(profile, gpu, gpus, host, facts, policy) for gpu in gpus}
    able = tuple(gpu for gpu in gpus if not against[gpu])
    unable = tuple(gpu for gpu in gpus if against[gpu])
    if policy.kind == "any" and able:
        return Verdict(reasons=tuple(reasons), gpus=able, left_out=unable)
    # In an order that does not depend on that of the GPUs.
    unable = tuple(sorted(unable, key=lambda gpu: (str(gpu.compute_capability), gpu.name or "")))
    every = dict.fromkeys([*reasons, *(reason for gpu in unable for reason in against[gpu])])
    weaker = [gpu for gpu in counted(ALL, host.gpus) if policy.kind == "best" and gpu not in gpus]
    return Verdict(
        reasons=tuple(every),
        gpus=able,
        left_out=tuple(gpu for gpu in weaker if _gpu(profile, gpu, (gpu,), host, facts)),
    )


def runs_line(capability: ComputeCapability, cuda: DottedVersion, facts: Facts) -> bool:
    """Whether some toolkit of a CUDA line has machine code that a GPU runs."""
    return has_machine_code(facts.code(cuda), capability)


def _needs(profile: Profile, host: Host, gpus: tuple[Gpu, ...]) -> list[Reason]:
    """What the profile itself asks of the driver, and of GPUs that are not there."""
    driver = host.driver
    version = driver.version if driver else None
    cuda = driver.cuda if driver else None
    needs = dict(profile.needs)
    asked = [("driver", "driver", version), ("cuda", "CUDA", cuda)]
    unmet = [
        _unmet(profile, key, f"{name} {needs[key]}", [str(value)] if value else [])
        for key, name, value in asked
        if key in needs and not (value and _allows(needs[key], str(value)))
    ]
    if _CAPABILITY in needs and not gpus:
        unmet.append(_unmet(profile, _CAPABILITY, f"compute capability {needs[_CAPABILITY]}", []))
    return unmet


def _needs_of(profile: Profile, gpu: Gpu, gpus: tuple[Gpu, ...]) -> tuple[Reason, ...]:
    """What the profile itself asks of each GPU; what is not known does not meet it."""
    specifier = dict(profile.needs).get(_CAPABILITY)
    capability = gpu.compute_capability
    if specifier is None or (capability and _allows(specifier, str(capability))):
        return ()
    known = sorted({one.compute_capability for one in gpus if one.compute_capability})
    unknown = any(one.compute_capability is None for one in gpus)
    has = [*map(str, known), *(["unknown"] if unknown else [])]
    return (_unmet(profile, _CAPABILITY, f"compute capability {specifier}", has),)


def _allows(specifier: str, version: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier).contains(version, prereleases=True)


def _unmet(profile: Profile, key: str, what: str, has: list[str]) -> Reason:
    shown = ", ".join(f"`{value}`" for value in has) or "none"
    return Reason(
        code=f"needs-{key}",
        message=f"`{profile.name}` needs {what}, host has {shown}",
        source=f"`needs.{key}` of `{profile.origin}`",
    )


def _platform(profile: Profile, host: Host) -> list[Reason]:
    platform = host.platform
    if platform.system == "linux" and machine_of(platform.machine, "linux") not in _MACHINES:
        return [
            Reason(
                code="no-wheels",
                message=f"`{profile.name}` has wheels for x86_64 and aarch64, host is "
                f"`{platform.machine}`",
                source=_FILE_LISTS,
            )
        ]
    if platform.libc is not None and platform.libc[0] == "musl":
        return [
            Reason(
                code="no-wheels",
                message=f"`{profile.name}` has no wheels for musl, host has musl "
                f"`{platform.libc[1]}`",
                source=_FILE_LISTS,
                hint="use an image with glibc, such as Debian's or Ubuntu's",
            )
        ]
    return []


def _driver(
    profile: Profile, cuda: DottedVersion, host: Host, gpus: tuple[Gpu, ...], facts: Facts
) -> list[Reason]:
    """What the host's driver is short of for the CUDA line."""
    if facts.floor(cuda) is None:
        message = f"`{profile.name}` is for CUDA {cuda}, which the compatibility tables do not know"
        return [Reason(code="cuda-unknown", message=message)]
    gap = facts.driver_gap(host, cuda)
    if gap is None:
        return []
    hint = _mended_driver(cuda, gap.lowest, host, gpus, facts) if host.driver and gpus else None
    message = f"`{profile.name}` {gap.words}"
    return [Reason(code=gap.code, message=message, source=gap.source, hint=hint)]


def _mended_driver(
    cuda: DottedVersion, lowest: DottedVersion, host: Host, gpus: tuple[Gpu, ...], facts: Facts
) -> str | None:
    """What would give the host a driver for a CUDA line, if its GPUs can have one and use it."""
    known = [gpu.compute_capability for gpu in gpus if gpu.compute_capability]
    if not all(runs_line(item, cuda, facts) or facts.is_newer(item) for item in known):
        return None
    version = host.driver.version if host.driver else None
    if version is not None and version >= lowest:
        # The kernel driver would do; it is another user-mode driver that is too old.
        return "look for another `libcuda.so.1` before the driver's own on the library path"
    rows = [row for item in known if (row := facts.architecture(item))]
    first = max((row.first_driver_branch or 0 for row in rows), default=0)
    last = min((row.last_driver_branch for row in rows if row.last_driver_branch), default=None)
    if last is not None and last < max(first, lowest.major):
        return None
    update = f"update the driver to {lowest if first <= lowest.major else first} or newer"
    if last is not None:
        update += f", up to branch {last}, the last that drives these GPUs"
    branch = _branch(host, facts)
    brands = {gpu.brand_or_name for gpu in gpus}
    if branch is None or not brands <= facts.compat_brands or driver_numbering(host) == "windows":
        return update
    newest = next((row.cuda for row in facts.compat(cuda) if branch in row.branches), None)
    if newest is None:
        return update
    package = f"cuda-compat-{newest.major}-{newest.text.partition('.')[2]}"
    return f"{update}, or put NVIDIA's `{package}` first on the library path"


def _no_gpu(profile: Profile, host: Host) -> tuple[Reason, ...]:
    """A driver without GPUs, unless whoever named the driver did not name them."""
    unknown = host.driver is not None and any(f.code == "gpus-unknown" for f in host.findings)
    if unknown or host.driver is None:
        return ()
    if host.gpus:
        message = f"`{profile.name}` needs a GPU, and none of the host's can be used"
    else:
        message = f"`{profile.name}` needs a GPU, host has none"
    return (Reason(code="no-gpu", message=message),)


def _gpu(  # noqa: PLR0913, PLR0917 - one GPU, among which, and by which rules
    profile: Profile,
    gpu: Gpu,
    gpus: tuple[Gpu, ...],
    host: Host,
    facts: Facts,
    policy: GpuPolicy | None = None,
) -> tuple[Reason, ...]:
    """What speaks against one GPU: its driver does not know it, or the line has no code."""
    needs = _needs_of(profile, gpu, gpus)
    cuda, capability = profile.cuda, gpu.compute_capability
    if cuda is None:
        return needs
    if capability is None:
        return (*needs, *_unknown(profile, cuda, gpu, host, facts))
    driver = _driver_knows(profile, gpu, capability, host, facts)
    # One that is newer than the tables runs PTX of any line, as far as there is some; it is said.
    if facts.is_newer(capability) or runs_line(capability, cuda, facts):
        return (*needs, *driver)
    return (
        *needs,
        *(replace(reason, hint=None) for reason in driver),  # No driver would do.
        Reason(
            code="no-code",
            message=f"`{profile.name}` has no code for {_kind(gpu)}",
            source=_source_of_code(cuda, facts),
            hint=_other_gpus(profile, gpu, host, facts) if policy == ALL else None,
        ),
    )


def _source_of_code(cuda: DottedVersion, facts: Facts) -> str | None:
    """Where it is from what a line has code for: its own rows, or the newest before it."""
    rows = sorted((r for r in facts.toolkits if r.cuda.major == cuda.major), key=lambda r: r.cuda)
    fitting = [row for row in rows if cuda.covers(row.cuda) or row.cuda <= cuda]
    return fitting[-1].source if fitting else None


def _other_gpus(profile: Profile, gpu: Gpu, host: Host, facts: Facts) -> str | None:
    """A policy that leaves a GPU out, where better ones are there and would run the line."""
    best = counted(GpuPolicy(kind="best"), host.gpus)
    if gpu in best or not best or profile.cuda is None:
        return None
    refused = _driver(profile, profile.cuda, host, best, facts)
    if refused or any(_gpu(profile, one, best, host, facts) for one in best):
        return None
    return f"`--gpu-policy best` leaves {_kind(gpu)} out"


def _driver_knows(
    profile: Profile, gpu: Gpu, capability: ComputeCapability, host: Host, facts: Facts
) -> tuple[Reason, ...]:
    """Whether the driver's branch is between the first and the last that drives the GPU."""
    version = host.driver.version if host.driver else None
    drives = branch_that_drives(capability, version, facts) if version else None
    row = facts.architecture(capability)
    if drives is None or row is None:
        return ()
    end, branch = drives
    if end == "first":
        says, hint = f"from branch {branch} on", f"install a driver of branch {branch} or newer"
    else:
        says, hint = f"up to branch {branch}", f"install a driver of branch {branch}"
    return (
        Reason(
            code="gpu-unknown-to-driver",
            message=f"`{profile.name}` needs a driver that drives {_kind(gpu)}, {says}, host has "
            f"`{version}`",
            source=row.source,
            hint=hint,
        ),
    )


def _unknown(
    profile: Profile, cuda: DottedVersion, gpu: Gpu, host: Host, facts: Facts
) -> tuple[Reason, ...]:
    """A GPU that does not tell its compute capability may have any that the driver drives.

    The lowest capability of the others must not stand for it (`[N/A]` beside `8.0`).
    """
    driver = host.driver
    branch = _branch(host, facts)
    if driver is None or branch is None:
        return ()
    everywhere = {item for row in facts.toolkits for item in row.capabilities}
    possible = [item for item in facts.known_to(branch) if item in everywhere]
    lacking = [item for item in possible if not runs_line(item, cuda, facts)]
    if not lacking:
        return ()
    ends = dict.fromkeys((min(lacking), max(lacking)))
    row = facts.architecture(min(lacking))
    named = f"driver `{driver.version}`" if driver.version else f"CUDA `{driver.cuda}`'s driver"
    return (
        Reason(
            code="capability-unknown",
            message=f"`{profile.name}` has no code for compute capability "
            f"{' to '.join(f'`{item}`' for item in ends)}, which {gpu_text(gpu)} may have: it does "
            f"not tell, and {named} drives such GPUs",
            source=row.source if row else None,
            hint="name the compute capabilities of all GPUs: `GPUENV_GPUS=9.0+8.0`, or in the "
            "target",
        ),
    )


def _kind(gpu: Gpu) -> str:
    """What GPUs have in common for which the same holds, wherever they are."""
    named = f" ({gpu.name})" if gpu.name else ""
    return f"compute capability `{gpu.compute_capability}`{named}"


def _branch(host: Host, facts: Facts) -> int | None:
    """The driver's branch, outside of the tables the number that it begins with.

    Where only the CUDA version is known, the oldest branch that brings it.
    """
    driver = host.driver
    if driver is None:
        return None
    if driver.version is not None:
        return driver_branch(driver.version, facts)
    bringing = [row.branch for row in facts.branches if driver.cuda and row.cuda >= driver.cuda]
    return min(bringing, default=None)
