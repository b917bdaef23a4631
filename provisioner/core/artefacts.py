"""Whether the packages of a lock, or those that requirements would bring, run on some GPUs.

An artefact is a package with code for GPUs: CUDA's libraries, cuDNN, TensorRT, PyTorch. Three
things are asked of it: does it hold code for each compute capability, does the driver run it,
and is there a file of it for this Python, C library and machine. What the tables don't know
is never held against a package.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from provisioner.core.artefact_kinds import (
    SUFFIXED,
    TENSORRT,
    TORCH,
    Artefact,
    Cudnn,
    Library,
    OfCuda,
    Scene,
    TensorRT,
    Toolkit,
    Torch,
    named,
    parsed,
    version_of,
)
from provisioner.core.coverage import Coverage
from provisioner.core.packages import read_locked, torch_index
from provisioner.core.project import normalise

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from packaging.specifiers import SpecifierSet

    from provisioner.core.artefact_facts import ArtefactFacts
    from provisioner.core.facts import Facts
    from provisioner.core.host import Gpu, Host
    from provisioner.core.interpreter import Interpreter
    from provisioner.core.packages import Package
    from provisioner.core.profile import Profile
    from provisioner.core.version import ComputeCapability, DottedVersion

GapCode = Literal[
    "no-artefact",
    "artefact-no-code",
    "artefact-no-file",
    "artefact-driver",
    "artefact-ptx-only",
    "artefact-older-code",
    "artefact-doubtful",
]

_SOFT: Final = frozenset({"artefact-ptx-only", "artefact-older-code", "artefact-doubtful"})
_OF_CODE: Final = frozenset({"no-artefact", "artefact-no-code", "artefact-doubtful"})
_INCLUSIVE: Final = frozenset({">=", "<=", "~="})


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """Something that a package lacks on this host.

    `no-artefact`: no version of it that could be taken runs on the GPU or platform.
    `artefact-no-code`: this version has no code for the GPU. `artefact-no-file`: it has no
    wheel for this Python, C library and machine. `artefact-driver`: it needs a newer driver.
    Three are not `hard`, it runs all the same: `artefact-ptx-only`: the driver has to compile
    it first; `artefact-older-code`: it was built before the GPU was known, and has code for an
    older one; `artefact-doubtful`: it may lack code, and nobody has confirmed either.

    `nearest` is the newest older version that would work, or else the oldest newer one.
    `elsewhere` is one still nearer, of another index of PyTorch, which it names: `2.9+cu130`.
    """

    code: GapCode
    package: str
    version: str | None
    capability: ComputeCapability | None
    message: str
    nearest: str | None = None
    elsewhere: str | None = None
    source: str = ""

    @property
    def hard(self) -> bool:
        """Whether the package cannot be used."""
        return self.code not in _SOFT

    @property
    def hint(self) -> str | None:
        """The version to take instead."""
        which = [f"`{self.nearest}`"] if self.nearest else []
        if self.elsewhere:
            number, _, label = self.elsewhere.partition("+")
            which.append(f"`{number}` of PyTorch's index `{label}`")
        if not which:
            return None
        return f"the nearest version of `{self.package}` that works here is {', or '.join(which)}"


def judge_lock(  # noqa: PLR0913, PLR0917 - what is judged, for whom, and the tables
    text: str,
    cuda: DottedVersion | None,
    host: Host,
    gpus: tuple[Gpu, ...],
    facts: Facts,
    artefact_facts: ArtefactFacts,
    interpreter: Interpreter | None,
) -> tuple[Gap, ...]:
    """What the packages of a lock (PEP 751) lack on a host, for the GPUs that count.

    Raises:
        LockError: it is no TOML.
    """
    lock = read_locked(text, _environment(host, interpreter))
    gaps = judge_artefacts(lock.packages, host, gpus, cuda, facts, artefact_facts, interpreter)
    if cuda is None or interpreter is None or lock.takes(interpreter):
        return gaps
    # A lock has no files for other Pythons than its own: that says nothing of the packages.
    other = Gap(
        code="artefact-no-file",
        package="python",
        version=None,
        capability=None,
        message=f"the lock is for Python `{lock.requires_python}`, "
        f"and the target has `{interpreter.version}`",
        source="`requires-python` of the lock",
    )
    return (other, *(gap for gap in gaps if gap.code != other.code))


def judge_artefacts(  # noqa: PLR0913, PLR0917 - the same
    packages: Iterable[Package],
    host: Host,
    gpus: tuple[Gpu, ...],
    cuda: DottedVersion | None,
    facts: Facts,
    artefact_facts: ArtefactFacts,
    interpreter: Interpreter | None,
) -> tuple[Gap, ...]:
    """What some locked packages lack on a host, for the GPUs that count.

    Without a CUDA line (`cpu`) nothing is asked of them.
    """
    if cuda is None:
        return ()
    scene = Scene(host, gpus, facts, artefact_facts, interpreter, cuda)
    gaps: list[Gap] = []
    of_driver: set[int] = set()
    for artefact, version, members in _identified(packages, scene):
        files = tuple(_files(artefact, version, members))
        own = [*files, *_code(artefact, version)]
        major = artefact.cuda(version)
        gap = _driver(artefact, version)
        # The libraries that a package brings along need the same driver: once is enough.
        if gap and major and major.major not in of_driver:
            of_driver.add(major.major)
            own.append(gap)
        if files and artefact.no_file(version) is None:
            # Why there is no file is not known, and so neither whether another version has one.
            own = [replace(item, nearest=None, elsewhere=None) for item in own]
        gaps += own
    return _merged(gaps, scene)


def judge_requirements(  # noqa: PLR0913, PLR0917 - the same
    requirements: Iterable[str],
    cuda: DottedVersion | None,
    host: Host,
    gpus: tuple[Gpu, ...],
    facts: Facts,
    artefact_facts: ArtefactFacts,
    interpreter: Interpreter | None,
    label: str | None = None,
) -> tuple[Gap, ...]:
    """What every version that some requirements allow lacks on a host.

    One version that has it all is enough. `label` names the index of PyTorch (`cu128`) that
    PyTorch is taken from; None: PyPI.
    """
    if cuda is None:
        return ()
    from packaging.requirements import InvalidRequirement, Requirement

    scene = Scene(host, gpus, facts, artefact_facts, interpreter, cuda)
    environment = _environment(host, interpreter)
    gaps: list[Gap] = []
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # Refused where profiles are read.
        if requirement.marker and environment and not requirement.marker.evaluate(environment):
            continue
        extras = frozenset(map(normalise, requirement.extras))
        artefact = named(normalise(requirement.name), scene, label=label, extras=extras)
        if artefact is not None and requirement.url is None:
            gaps += _required(artefact, requirement.specifier)
    return tuple(gaps)


def torch_remedy(
    host: Host,
    gpus: tuple[Gpu, ...],
    facts: Facts,
    artefact_facts: ArtefactFacts,
    interpreter: Interpreter | None,
) -> str | None:
    """Which builds of PyTorch run on some GPUs, in words, such as for a hint.

    None: none do, or nothing is known of the GPUs or of PyTorch for this platform.
    """
    scene = Scene(host, gpus, facts, artefact_facts, interpreter)
    torch = named(TORCH, scene)
    if not isinstance(torch, Torch) or not scene.capabilities:
        return None
    return torch.remedy()


def torch_label(profile: Profile) -> str | None:
    """The label of a profile's PyTorch index, such as `cu128`."""
    return next(filter(None, (torch_index(index.url) for index in profile.indexes)), None)


def _identified(
    packages: Iterable[Package], scene: Scene
) -> list[tuple[Artefact, str, tuple[Package, ...]]]:
    """The artefacts among packages with their version; the parts of one TensorRT are one."""
    families: dict[tuple[str, str | None, str | None], list[Package]] = {}
    for package in packages:
        if parsed(package.version) is None or (package.name == TORCH and not package.of_pytorch):
            continue
        label = package.torch_label if package.name == TORCH else None
        key: tuple[str, str | None, str | None] = (package.name, package.version, label or "")
        if tensorrt := TENSORRT.fullmatch(package.name):
            key = (f"tensorrt{tensorrt['flavour'] or ''}", package.version, tensorrt["cuda"])
        families.setdefault(key, []).append(package)
    found = []
    for key, members in families.items():
        if key[-1] is None and any(key[:-1] == other[:-1] and other[-1] for other in families):
            continue  # `tensorrt` only stands for `tensorrt-cu12`, which is here too.
        lead = min(members, key=lambda item: len(item.name))
        artefact = named(lead.name, scene, label=lead.torch_label)
        if artefact is not None and lead.version is not None:
            found.append((artefact, lead.version, tuple(members)))
    return sorted(found, key=lambda item: (*_weight(item[0]), item[1]))


def _weight(artefact: Artefact) -> tuple[int, str]:
    kinds = (Torch, TensorRT, Cudnn, Library, Toolkit, OfCuda)
    return next(
        rank for rank, kind in enumerate(kinds) if isinstance(artefact, kind)
    ), artefact.name


def _lack(  # noqa: PLR0913 - the fields of a gap that differ
    artefact: Artefact,
    version: str,
    code: GapCode,
    message: str,
    *,
    source: str,
    capability: ComputeCapability | None = None,
) -> Gap:
    """What keeps a version from being used, with the versions to take instead."""
    return Gap(
        code=code,
        package=artefact.name,
        version=version,
        capability=capability,
        message=message,
        nearest=artefact.nearest(version),
        elsewhere=artefact.elsewhere(version),
        source=source,
    )


def _code(artefact: Artefact, version: str) -> Iterator[Gap]:
    """What a version lacks for each compute capability."""
    scene = artefact.scene
    for capability in scene.capabilities:
        found, source = artefact.coverage(version, capability)
        gpu = scene.gpu_text(capability)
        if found is Coverage.NONE:
            ever = artefact.ever(capability)
            yield _lack(
                artefact,
                version,
                "artefact-no-code" if ever else "no-artefact",
                f"{artefact.shown(version)} has no code for {gpu}"
                + ("" if ever else ", and neither has any other version"),
                source=source,
                capability=capability,
            )
        elif found is Coverage.PTX_TOO_NEW:
            yield _lack(
                artefact,
                version,
                "artefact-driver",
                f"{artefact.shown(version)} has only PTX of CUDA {artefact.cuda(version)} "
                f"for {gpu}, and the host's driver compiles PTX up to CUDA `{scene.jit}`",
                source=source,
                capability=capability,
            )
        else:
            yield from _soft(artefact, version, capability)


def _soft(artefact: Artefact, version: str, capability: ComputeCapability) -> Iterator[Gap]:
    """What to mind about a version that runs."""
    found, source = artefact.coverage(version, capability)
    gpu = artefact.scene.gpu_text(capability)
    told: list[tuple[GapCode, str, str]] = []
    if found is Coverage.PTX:
        words = f"has no machine code for {gpu}, only PTX, which the driver compiles when it is"
        told.append(("artefact-ptx-only", f"{words} first used", source))
    elif older := artefact.older_than(version, capability):
        words = f"was built with CUDA {older}, which does not know {gpu}, and runs by code for an"
        told.append(("artefact-older-code", f"{words} older one", source))
    if doubt := artefact.doubt(version, capability):
        told.append(("artefact-doubtful", f"may have no code for {gpu}", doubt))
    for code, words, of in told:
        yield Gap(
            code=code,
            package=artefact.name,
            version=version,
            capability=capability,
            message=f"{artefact.shown(version)} {words}",
            source=of,
        )


def _driver(artefact: Artefact, version: str) -> Gap | None:
    cuda = artefact.cuda(version)
    lacks = cuda and artefact.scene.lacks_driver(cuda)
    if not cuda or not lacks:
        return None
    message = f"{artefact.shown(version)} is for CUDA {cuda} and {lacks[0]}"
    return _lack(artefact, version, "artefact-driver", message, source=lacks[1])


def _files(artefact: Artefact, version: str, members: tuple[Package, ...]) -> Iterator[Gap]:
    """Whether the lock has a file for this Python, C library and machine.

    Where the lock names the wheels that the tables tell of, they speak alone.
    """
    listed = any(item.wheels and artefact.is_tabled(item.name) for item in members)
    known = artefact.refused(version) if listed else artefact.no_file(version)
    without = [item for item in members if not _has_file(item, artefact.scene)]
    if not known and not without:
        return
    shown = artefact.shown(version)
    words, source = known or (f"has no wheel for {artefact.scene.place}", "the wheels in the lock")
    if not known and without[0].name != artefact.name:
        shown = f"`{without[0].name}` `{version}`"
    yield _lack(artefact, version, "artefact-no-file", f"{shown} {words}", source=source)


def _has_file(package: Package, scene: Scene) -> bool:
    """Whether one of a package's files can be installed; a source distribution always can."""
    if package.sdist or not package.wheels or scene.platforms is None:
        return True
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    taken = scene.wheel_tags
    for name in package.wheels:
        try:
            tags = parse_wheel_filename(name)[3]
        except InvalidWheelFilename:
            return True  # Refused where files are chosen.
        if taken is None:
            if any(tag.platform in scene.platforms or tag.platform == "any" for tag in tags):
                return True
        elif not taken.isdisjoint(tags):
            return True
    return False


def _required(artefact: Artefact, specifier: SpecifierSet) -> Iterator[Gap]:
    """What every allowed version lacks; nothing if one has it all."""
    allowed = _allowed(artefact, specifier)
    if not allowed:
        return
    working = [version for version in allowed if artefact.works(version)]
    if working:
        for capability in artefact.scene.capabilities:
            yield from (
                replace(gap, version=None) for gap in _soft(artefact, working[-1], capability)
            )
        return
    if artefact.may_come(specifier):
        return
    # All fail. Which GPUs are at fault is told of the newest version, so that the answer does
    # not depend on which other GPUs there are.
    newest = allowed[-1]
    scene = artefact.scene
    nearest = artefact.nearest(newest, specifier)
    elsewhere = artefact.elsewhere(newest, specifier)
    other = nearest or (elsewhere and not specifier.contains(elsewhere, prereleases=True))
    what = f"`{artefact.name}{specifier}`" if str(specifier) else artefact.title
    gaps = []
    for gap in _code(artefact, newest):
        if gap.hard and gap.code != "artefact-driver":
            gaps.append(
                Gap(
                    code="artefact-no-code" if other else "no-artefact",
                    package=artefact.name,
                    version=None,
                    capability=gap.capability,
                    message=f"{what} has no version for {scene.gpu_text(_some(gap.capability))}"
                    + _here(artefact, allowed, _some(gap.capability)),
                    source=gap.source,
                )
            )
        elif gap.hard:
            gaps.append(replace(gap, version=None))
    driver = _driver(artefact, newest)
    if lacks := artefact.no_file(newest):
        gaps.append(
            Gap(
                code="artefact-no-file",
                package=artefact.name,
                version=None,
                capability=None,
                message=f"{what} {lacks[0]}",
                source=lacks[1],
            )
        )
    elif driver:
        gaps.append(replace(driver, version=None))
    yield from (replace(gap, nearest=nearest, elsewhere=elsewhere) for gap in gaps)


def _here(artefact: Artefact, allowed: tuple[str, ...], capability: ComputeCapability) -> str:
    """That a version would run on the GPU, but has no file here."""
    others = any(artefact.coverage(version, capability)[0].runs for version in allowed)
    return f" that can be installed with {artefact.scene.place}" if others else ""


def _some(capability: ComputeCapability | None) -> ComputeCapability:
    assert capability is not None  # noqa: S101 - gaps in code have one
    return capability


def _allowed(artefact: Artefact, specifier: SpecifierSet) -> tuple[str, ...]:
    """The known versions that a requirement takes, ascending, and those that it names exactly.

    If it takes only versions newer than the tables, the one that it names stands for them.
    """
    first = next(artefact.versions(), ())
    named = [item for item in specifier if parsed(item.version) is not None]
    exact = [item.version for item in named if item.operator in {"==", "==="}]
    bounds = (artefact.patch(item.version) for item in named if item.operator in _INCLUSIVE)
    # Of two spellings of one version, the tables' counts.
    every = {version_of(item): item for item in (*exact, *filter(None, bounds), *first)}
    taken = [item for item in every.values() if specifier.contains(item, prereleases=True)]
    if not taken and first and (beyond := _beyond(specifier, first[-1])):
        return (beyond,)
    return tuple(sorted(taken, key=version_of))


def _beyond(specifier: SpecifierSet, newest: str) -> str | None:
    """The version that a requirement begins with, if it begins above another."""
    first = [
        item.version.removesuffix(".*")
        for item in specifier
        if item.operator in {">=", ">", "==", "~="}
    ]
    above = [item for item in first if version_of(item) > version_of(newest)]
    return max(above, key=version_of, default=None)


def _merged(gaps: list[Gap], scene: Scene) -> tuple[Gap, ...]:
    """The libraries of one CUDA lack the same: the first of them speaks for all."""
    kept: list[Gap] = []
    alike: dict[tuple[object, ...], list[Gap]] = {}
    for gap in gaps:
        if gap.code in _OF_CODE and scene.tables.library(gap.package):
            key = (gap.code, gap.capability, _suffix(gap.package))
            alike.setdefault(key, []).append(gap)
        else:
            kept.append(gap)
    for first, *more in alike.values():
        others = f"{len(more)} more package{'s' if len(more) > 1 else ''} of its CUDA"
        words = first.message.replace(" has no code", f" and {others} have no code", 1)
        words = words.replace(" may have no code", f" and {others} may have no code", 1)
        kept.append(replace(first, message=words) if more else first)
    return tuple(kept)


def _suffix(name: str) -> str:
    found = SUFFIXED.fullmatch(name)
    return found[1] if found else ""


def _environment(host: Host, interpreter: Interpreter | None) -> Mapping[str, str] | None:
    from provisioner.core.tags import markers

    return None if interpreter is None else markers(interpreter, host.platform)
