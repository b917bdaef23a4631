"""What a driver's version means for its CUDA version and its GPUs, by the tables.

Forward compatibility: a package may put a newer `libcuda.so.1` before the driver's own. It
runs on some branches of the kernel driver and some brands only (docs.nvidia.com/deploy/
cuda-compatibility/forward-compatibility.html); elsewhere every CUDA program fails.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, Protocol

from provisioner.core.findings import JETSON, Finding, found

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.core.host import Compat, Driver, Gpu, Host
    from provisioner.core.version import ComputeCapability, DottedVersion

CODES: Final = frozenset(
    {"compat-active", "compat-unusable", "gpu-unknown-to-driver", "newer-than-tables"}
)
"""What is found here."""


_NAMED: Final = "overridden"
"""How the source of a fact begins that a user names in the place of what was detected."""


class KnownArchitecture(Protocol):
    """The branches of the driver that drive a compute capability; None: no limit is known."""

    @property
    def first_driver_branch(self) -> int | None:
        """The first one."""

    @property
    def last_driver_branch(self) -> int | None:
        """The last one."""


class DriverFacts(Protocol):
    """The tables about drivers."""

    @property
    def newest_branch(self) -> int:
        """The newest branch that they know."""

    @property
    def compat_brands(self) -> frozenset[str]:
        """The brands of GPUs on which forward compatibility works."""

    def branch(self, driver: DottedVersion, /) -> int | None:
        """The branch that a driver is counted to; None: it is older or newer than the tables."""

    def natural_cuda(self, driver: DottedVersion, /) -> DottedVersion | None:
        """The CUDA version of a branch's own libcuda; None: the branch is not in the tables."""

    def compat_branches(self, cuda: DottedVersion, /) -> tuple[int, ...]:
        """The branches on which the compatibility package of a CUDA version runs."""

    def architecture(self, capability: ComputeCapability, /) -> KnownArchitecture | None:
        """What is known of a compute capability."""


def driver_findings(host: Host, facts: DriverFacts) -> Host:
    """Add what the tables say of the driver.

    Where a compatibility package cannot work, the CUDA version is set to the driver's own,
    except where a user overrides it. A host that was judged before stays as it is.
    """
    driver = host.driver
    codes = {finding.code for finding in host.findings}
    if host.platform.kind == "jetson" and "jetson" not in codes:
        host = host.with_findings(found("jetson", JETSON))
    if driver is None or CODES & codes:
        return host
    compat: tuple[Finding, ...] = ()
    if _is_linux_numbered(host):
        host, compat = _with_compat(host, driver, facts)
    unknown = _unknown_gpus(host.gpus, driver, facts)
    return host.with_findings(*compat, *unknown, *_newer(driver, host, facts))


def driver_branch(version: DottedVersion, facts: DriverFacts) -> int:
    """The branch that a driver is counted to, outside of the tables what its number begins with.

    Windows counts on within a branch (`572.60`), and so it is counted under WSL 2.
    """
    return facts.branch(version) or version.major


def branch_that_drives(
    capability: ComputeCapability, version: DottedVersion, facts: DriverFacts
) -> tuple[Literal["first", "last"], int] | None:
    """The first branch that drives a GPU, or the last, where a driver is before or after it.

    None: the driver drives it, as far as the tables know.
    """
    row = facts.architecture(capability)
    if row is None:
        return None
    branch, first, last = (
        driver_branch(version, facts),
        row.first_driver_branch,
        row.last_driver_branch,
    )
    if first is not None and branch < first:
        return "first", first
    if last is not None and branch > last:
        return "last", last
    return None


def _is_linux_numbered(host: Host) -> bool:
    """Whether the driver's number is one of the tables: not those of Windows and Jetson."""
    return host.platform.kind == "linux"


def _with_compat(
    host: Host, driver: Driver, facts: DriverFacts
) -> tuple[Host, tuple[Finding, ...]]:
    """The host with the CUDA version that counts, and what is said of it."""
    sources = dict(host.sources)
    named = {fact for fact in ("driver", "cuda") if sources.get(fact, "").startswith(_NAMED)}
    if driver.version is None or driver.cuda is None or named == {"driver", "cuda"}:
        return host, ()
    # A branch between two of the tables may bring a CUDA version of its own.
    exact = facts.branch(driver.version) == driver.version.major
    natural = facts.natural_cuda(driver.version) if exact else None
    is_newer = natural is not None and driver.cuda > natural
    if not (is_newer or driver.compat):
        return host, ()
    where = f" (`{driver.compat.path}`)" if driver.compat and driver.compat.path else ""
    package = f"the compatibility package{where} for CUDA `{driver.cuda}`"
    own = f"CUDA `{natural}` of driver `{driver.version}`" if natural else "the driver's own CUDA"
    why = _unusable(host, driver, natural, facts)
    if why is None:
        if not is_newer and natural is not None:
            return host, ()
        unsure = not host.gpus or any(
            gpu.brand in {None, "unknown"} and not gpu.name for gpu in host.gpus
        )
        but = "; it does not work on GeForce, and a GPU's brand is not known" if unsure else ""
        return host, (found("compat-active", f"{package} takes the place of {own}{but}"),)
    remove = "take it off the library path: " + (
        f"`LD_LIBRARY_PATH` or `/etc/ld.so.conf.d` names `{_folder(driver.compat)}`"
        if driver.compat and driver.compat.path
        else "`LD_LIBRARY_PATH` or `/etc/ld.so.conf.d` names its folder"
    )
    finding = found("compat-unusable", f"{package} {why}; what counts is {own}", remove)
    if natural is None or "cuda" in named:
        return host, (finding,)
    sources = {**sources, "cuda": f"driver branch `{driver.version.major}`"}
    counted = replace(host, driver=replace(driver, cuda=natural), sources=tuple(sources.items()))
    return counted, (finding,)


def _unusable(
    host: Host, driver: Driver, natural: DottedVersion | None, facts: DriverFacts
) -> str | None:
    """Why the package cannot work, if so."""
    if driver.version is None or driver.cuda is None:
        return None
    if _library_is_older(driver) or (natural and driver.cuda < natural):
        return "is older than the kernel driver and fails with error 803"
    if driver.cuda == natural:
        return None
    for gpu in host.gpus:
        brand = gpu.brand_or_name
        if brand is not None and brand not in facts.compat_brands:
            name = gpu.name or f"GPU {gpu.index}"
            return f"would fail with error 804 on `{name}`, whose brand is `{brand}`"
    noted = driver.compat.branches if driver.compat else ()
    allowed = noted or facts.compat_branches(driver.cuda)
    if allowed and driver.version.major not in allowed:
        names = ", ".join(map(str, sorted(allowed)))
        return f"runs on driver branches {names}, host has `{driver.version}`"
    return None


def _library_is_older(driver: Driver) -> bool:
    """Whether the name of the package's libcuda tells a driver before the kernel's."""
    if driver.compat is None or driver.version is None:
        return False
    from provisioner.core.readings import library_version

    library = library_version(driver.compat.path)
    return library is not None and library < driver.version


def _folder(compat: Compat | None) -> str:
    path = compat.path if compat and compat.path else ""
    return path.rpartition("/")[0]


def _unknown_gpus(gpus: Iterable[Gpu], driver: Driver, facts: DriverFacts) -> Iterable[Finding]:
    """GPUs from before the driver's time, or after it."""
    version = driver.version
    if version is None:
        return
    for position, gpu in enumerate(gpus):
        capability = gpu.compute_capability
        drives = branch_that_drives(capability, version, facts) if capability else None
        if drives is None:
            continue
        of = f"`gpus[{position}]`: compute capability `{capability}`"
        end, branch = drives
        if end == "first":
            yield found(
                "gpu-unknown-to-driver",
                f"{of} needs driver >={branch}, host has `{version}`",
                f"install a driver of branch `{branch}` or newer",
            )
        else:
            yield found(
                "gpu-unknown-to-driver",
                f"{of} has no driver after branch `{branch}`, host has `{version}`",
                f"install a driver of branch `{branch}`",
            )


def _newer(driver: Driver, host: Host, facts: DriverFacts) -> Iterable[Finding]:
    """A driver that the tables do not know yet, which is no fault."""
    from provisioner.core.version import DottedVersion

    newest = DottedVersion.parse(str(facts.newest_branch))
    cuda = facts.natural_cuda(newest)
    if driver.version and _is_linux_numbered(host) and driver.version.major > newest.major:
        message = f"driver `{driver.version}` is newer than the tables, which end at `{newest}`"
        yield found("newer-than-tables", message)
    elif driver.cuda and cuda and driver.cuda > cuda:
        message = f"CUDA `{driver.cuda}` is newer than the tables, which end at `{cuda}`"
        yield found("newer-than-tables", message)
