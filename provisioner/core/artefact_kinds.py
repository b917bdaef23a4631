"""The packages that are known to have code for GPUs, and what the tables say of each."""

# ruff: noqa: ARG002, D102 - a kind overrides what `Artefact` documents, and may not need it all

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final

from provisioner.core.coverage import Code, Coverage, cover
from provisioner.core.facts import cuda_of_label
from provisioner.core.version import DottedVersion
from provisioner.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.tags import Tag
    from packaging.version import Version

    from provisioner.core.artefact_facts import ArtefactFacts, CodeRule, TensorRTWheels
    from provisioner.core.facts import Facts
    from provisioner.core.host import Gpu, Host, PlatformClass, System
    from provisioner.core.interpreter import Interpreter
    from provisioner.core.version import ComputeCapability

CUDNN: Final = "nvidia-cudnn"
TENSORRT: Final = re.compile(
    r"tensorrt(?P<flavour>-lean|-dispatch|-rtx)?(?:-cu(?P<cuda>[0-9]+))?(?P<part>-libs|-bindings)?"
)
SUFFIXED: Final = re.compile(r"nvidia-[a-z0-9-]+-cu([0-9]+)")


class Scene:
    """For whom packages are judged, and by which tables."""

    def __init__(  # noqa: PLR0913, PLR0917 - a host, and the tables
        self,
        host: Host,
        gpus: tuple[Gpu, ...],
        facts: Facts,
        tables: ArtefactFacts,
        interpreter: Interpreter | None,
        line: DottedVersion | None = None,
    ) -> None:
        self.host = host
        self.gpus = gpus
        self.facts = facts
        self.tables = tables
        self.interpreter = interpreter
        self.line = line
        known = {gpu.compute_capability for gpu in gpus if gpu.compute_capability}
        self.capabilities = tuple(sorted(known))

    @cached_property
    def platforms(self) -> frozenset[str] | None:
        """The platform tags; None: the C library is not known."""
        from provisioner.core.tags import platform_tags

        try:
            return frozenset(platform_tags(self.host.platform))
        except TargetError:
            return None

    @cached_property
    def wheel_tags(self) -> frozenset[Tag] | None:
        """The wheel tags; None: the Python or the C library is not known."""
        from provisioner.core.tags import wheel_tags

        if self.interpreter is None or self.platforms is None:
            return None
        return frozenset(wheel_tags(self.interpreter, self.host.platform))

    @property
    def system(self) -> System:
        """The operating system."""
        return self.host.platform.system

    @cached_property
    def machine(self) -> str:
        """The machine as Linux names it."""
        return normal_machine(self.host.platform.machine)

    @property
    def kind(self) -> PlatformClass:
        """The class of platform; a Jetson whose discrete GPUs count is like any Linux."""
        kind = self.host.platform.kind
        discrete = bool(self.gpus) and not any(gpu.integrated for gpu in self.gpus)
        return "linux" if kind == "jetson" and discrete else kind

    @cached_property
    def jit(self) -> DottedVersion | None:
        """The newest CUDA version whose PTX the driver compiles; None: not known."""
        driver = self.host.driver
        if driver is None or driver.version is None:
            return driver.cuda if driver else None
        if driver.cuda is not None:
            return driver.cuda
        natural = self.facts.natural_cuda(driver.version)
        if natural is None and driver.version.major <= self.facts.newest_branch:
            return min(row.cuda for row in self.facts.branches)
        return natural

    def lacks_driver(self, cuda: DottedVersion) -> tuple[str, str] | None:
        """What the driver is short of for a CUDA version, with the source of the rule."""
        driver = self.host.driver
        floor = self.facts.floor(cuda)
        if driver is None or floor is None:
            return None
        windows = self.host.platform.kind == "wsl2"  # Its driver is numbered as Windows's.
        lowest = floor.for_system("windows" if windows else self.system)
        if driver.cuda is not None and driver.cuda >= floor.cuda:
            return None
        if driver.version is not None and driver.version < lowest:
            return f"needs driver >={lowest}, host has `{driver.version}`", floor.source
        if driver.cuda is None:
            return None
        words = f"needs a driver that runs CUDA >={floor.cuda}, host has `{driver.cuda}`"
        return words, floor.source

    def gpu_text(self, capability: ComputeCapability) -> str:
        """A compute capability with the names of the GPUs that have it."""
        names = {gpu.name for gpu in self.gpus if gpu.compute_capability == capability}
        shown = ", ".join(sorted(name for name in names if name))
        return f"compute capability `{capability}`" + (f" ({shown})" if shown else "")

    @property
    def place(self) -> str:
        """The platform and Python in words."""
        platform = self.host.platform
        libc = " ".join(platform.libc) if platform.libc else platform.system
        python = f"Python {self.interpreter.version}, " if self.interpreter else ""
        return f"{python}{libc} on {platform.machine}"


class Artefact(ABC):
    """One package with code for GPUs, as far as the tables know it."""

    def __init__(self, name: str, scene: Scene) -> None:
        self.name = name
        self.scene = scene
        self._works: dict[str, bool] = {}

    @property
    def title(self) -> str:
        """Its name in words, with where it is from, where that matters."""
        return f"`{self.name}`"

    def shown(self, version: str) -> str:
        """A version of it in words."""
        return f"`{self.name}` `{version}`"

    def versions(self) -> Iterator[tuple[str, ...]]:
        """The known versions, ascending; those that would be taken first come first."""
        yield from ()

    @abstractmethod
    def cuda(self, version: str) -> DottedVersion | None:
        """The CUDA version that it is for."""

    def coverage(self, version: str, capability: ComputeCapability) -> tuple[Coverage, str]:
        """How a GPU runs it, with the source; what is not known counts as running."""
        return Coverage.NATIVE, ""

    def doubt(self, version: str, capability: ComputeCapability) -> str | None:
        """The source of a doubt that it has code for a GPU."""
        return None

    def no_file(self, version: str) -> tuple[str, str] | None:
        """Why no file of it can be installed, as far as the tables know, with the source."""
        return None

    def runs(self, version: str) -> bool:
        """Whether it can be installed here and has code for every GPU."""
        return self.no_file(version) is None and all(
            self.coverage(version, item)[0].runs for item in self.scene.capabilities
        )

    def works(self, version: str) -> bool:
        """Whether it runs, with this driver too."""
        if version not in self._works:
            cuda = self.cuda(version)
            driver = cuda is None or self.scene.lacks_driver(cuda) is None
            self._works[version] = driver and self.runs(version)
        return self._works[version]

    def nearest(self, version: str) -> str | None:
        """The newest older version that works, or else the oldest newer one."""
        wanted = version_of(public(version))
        for known in self.versions():
            others = [item for item in known if item != version]
            older = [item for item in others if version_of(public(item)) <= wanted]
            ordered = (*reversed(older), *others[len(older) :])
            found = next((item for item in ordered if self.works(item)), None)
            if found:
                return found
        return None

    def ever(self, capability: ComputeCapability) -> bool:
        """Whether some version that can be had here runs on a GPU."""
        return any(
            self.coverage(version, capability)[0].runs and self.no_file(version) is None
            for known in self.versions()
            for version in known
        )


class TensorRT(Artefact):
    """TensorRT, its lean and dispatch runtimes, and TensorRT-RTX, whatever its parts."""

    def __init__(self, name: str, flavour: str, major: int | None, scene: Scene) -> None:
        super().__init__(name, scene)
        self._package = "tensorrt-rtx" if flavour == "-rtx" else "tensorrt"
        self._whole = not flavour
        self._major = major

    def versions(self) -> Iterator[tuple[str, ...]]:
        if self._package == "tensorrt":
            yield tuple(
                str(row.version)
                for row in sorted(self.scene.tables.tensorrt_wheels, key=lambda row: row.version)
                if not row.version.is_prerelease and row.cuda == self._cuda(row.version)
            )

    def cuda(self, version: str) -> DottedVersion | None:
        major = self._cuda(version_of(version))
        return None if major is None else DottedVersion.parse(str(major))

    def coverage(self, version: str, capability: ComputeCapability) -> tuple[Coverage, str]:
        for rule in self.rules(version):
            if rule.excludes(capability):
                return Coverage.NONE, rule.source
        return Coverage.NATIVE, ""

    def doubt(self, version: str, capability: ComputeCapability) -> str | None:
        doubts = (rule for rule in self.rules(version) if capability in rule.doubtful)
        return next((rule.source for rule in doubts), None)

    def no_file(self, version: str) -> tuple[str, str] | None:
        parsed = version_of(version)
        kind = self.scene.kind
        for rule in self.rules(version):
            if kind in rule.never_on:
                return f"does not support {kind.capitalize()}", rule.source
        major = self._cuda(parsed)
        for bad in self.scene.tables.tensorrt_bad:
            if bad.version == parsed and bad.cuda == major and self._package == "tensorrt":
                return "cannot be installed", bad.source
        row = self._wheels(parsed, major)
        if row is None or _fits(row, self.scene):
            return None
        return f"has no wheel for {self.scene.place}", row.source

    def _cuda(self, version: Version) -> int | None:
        if self._major is not None or self._package != "tensorrt":
            return self._major
        rows = [row for row in self.scene.tables.tensorrt_cuda if version in row.versions]
        own = [row.cuda for row in rows if row.system == self.scene.system]
        return next(iter([*own, *(row.cuda for row in rows if row.system is None)]), None)

    def rules(self, version: str) -> tuple[CodeRule, ...]:
        """What is known of the code of a version."""
        parsed = version_of(version)
        return self.scene.tables.rules(self._package, self._cuda(parsed), parsed)

    def _wheels(self, version: Version, major: int | None) -> TensorRTWheels | None:
        """The row of a version; a version newer than the tables is as the newest one."""
        rows = [row for row in self.scene.tables.tensorrt_wheels if row.cuda == major]
        if not self._whole or self._package != "tensorrt" or not rows:
            return None
        newest = max(rows, key=lambda row: row.version)
        if version > newest.version:
            return newest
        return next((row for row in rows if row.version == version), None)


class Torch(Artefact):
    """PyTorch, from an index of its own or, without a label, from PyPI."""

    def __init__(self, scene: Scene, label: str | None) -> None:
        super().__init__("torch", scene)
        self._label = label

    @cached_property
    def _newest(self) -> int:
        """The newest major compute capability that any build has code for."""
        return max(_majors(row.code) for row in self.scene.facts.torch_builds)

    @property
    def title(self) -> str:
        return f"`torch` of PyTorch's index `{self._label}`" if self._label else "`torch`"

    def versions(self) -> Iterator[tuple[str, ...]]:
        scene = self.scene
        if self._label is None:
            yield tuple(
                f"{minor}.0"
                for minor in _torch_minors(scene.tables)
                if self._default(f"{minor}.0") is not None
            )
        labels = {
            row.label
            for row in scene.facts.torch_builds
            if row.fits(row.label, scene.machine, scene.system)
        }
        if self._label in labels:
            yield tuple(self._of_index(self._label))
        # Of equal versions, the one for the newest CUDA is the last.
        others = sorted(
            (item for label in labels - {self._label} for item in self._of_index(label)),
            key=lambda item: (version_of(public(item)), cuda_of_label(item.partition("+")[2])),
        )
        line = self.scene.line
        same = [
            item for item in others if (of := self.cuda(item)) and line and of.major == line.major
        ]
        yield tuple(same)
        yield tuple(item for item in others if item not in same)

    def cuda(self, version: str) -> DottedVersion | None:
        label = self._index(version)
        return None if label is None else cuda_of_label(label)

    def coverage(self, version: str, capability: ComputeCapability) -> tuple[Coverage, str]:
        label = self._index(version)
        scene = self.scene
        build = label and scene.facts.torch_build(label, version, scene.machine, scene.system)
        if not build:
            return Coverage.NATIVE, ""
        found = cover(build.code, capability, cuda_of_driver=scene.jit, ptx_from=build.cuda)
        if found is Coverage.NONE and build.last is None and capability.major > self._newest:
            return Coverage.NATIVE, ""  # Newer than the tables: a newer build may have it.
        return found, build.source

    def no_file(self, version: str) -> tuple[str, str] | None:
        libc = self.scene.host.platform.libc
        if libc is None or self.scene.system != "linux":
            return None
        for row in self.scene.tables.torch_wheels:
            if row.machine == self.scene.machine and version_of(version) in row.versions:
                if libc[0] == "glibc" and DottedVersion.parse(libc[1]) >= row.glibc:
                    return None
                return f"has no wheel for {self.scene.place}", row.source
        return None

    def _of_index(self, label: str) -> Iterator[str]:
        scene = self.scene
        for minor in _torch_minors(scene.tables):
            version = DottedVersion.parse(minor)
            for row in scene.facts.torch_builds:
                if row.fits(label, scene.machine, scene.system) and row.holds(version):
                    yield f"{minor}.0+{label}"

    def _index(self, version: str) -> str | None:
        """The index whose build a version is."""
        local = version.partition("+")[2]
        if local.startswith("cu"):
            return local
        return self._label or self._default(version)

    def _default(self, version: str) -> str | None:
        if self.scene.system != "linux":
            return None
        return self.scene.tables.default_torch(version_of(version), self.scene.machine)


class Cudnn(Artefact):
    """cuDNN for one CUDA major."""

    def __init__(self, name: str, major: int, scene: Scene) -> None:
        super().__init__(name, scene)
        self._major = major

    def versions(self) -> Iterator[tuple[str, ...]]:
        rules = self.scene.tables.code_rules
        known = (rule for rule in rules if rule.package == CUDNN and rule.cuda == self._major)
        yield tuple(map(str, sorted(rule.newest for rule in known if rule.newest)))

    def cuda(self, version: str) -> DottedVersion | None:
        return DottedVersion.parse(str(self._major))

    def coverage(self, version: str, capability: ComputeCapability) -> tuple[Coverage, str]:
        for rule in self.scene.tables.rules(CUDNN, self._major, version_of(version)):
            if rule.excludes(capability):
                return Coverage.NONE, rule.source
        return Coverage.NATIVE, ""


class Library(Artefact):
    """A package of the CUDA toolkit: its code is that of the toolkit that it is from."""

    def __init__(self, name: str, scene: Scene, *, code: bool) -> None:
        super().__init__(name, scene)
        self._has_code = code

    def versions(self) -> Iterator[tuple[str, ...]]:
        yield tuple(str(version) for version, _ in self._pinned())

    def cuda(self, version: str) -> DottedVersion | None:
        suffix = SUFFIXED.fullmatch(self.name)
        if suffix:
            return DottedVersion.parse(suffix[1])
        toolkits = self._toolkits(version)
        return DottedVersion.parse(str(toolkits[0].major)) if toolkits else None

    def coverage(self, version: str, capability: ComputeCapability) -> tuple[Coverage, str]:
        facts = self.scene.facts
        toolkits = self._toolkits(version)
        if not self._has_code or not toolkits or capability.major > facts.newest_capability.major:
            return Coverage.NATIVE, ""
        known = {str(item) for toolkit in toolkits for item in facts.code(_minor(toolkit))}
        found = cover(
            Code(sass=tuple(sorted(known))), capability, cuda_of_driver=None, ptx_from=None
        )
        source = next((row.source for row in facts.toolkits), "")
        return found, source

    def _toolkits(self, version: str) -> tuple[DottedVersion, ...]:
        """The toolkit of a version, or both that it lies between."""
        parsed = version_of(version)
        pinned = self._pinned()
        below = [(known, toolkit) for known, toolkit in pinned if known <= parsed]
        above = [(known, toolkit) for known, toolkit in pinned if known > parsed]
        if not below:
            return ()
        known, toolkit = below[-1]
        exact = parsed.release[: len(known.release)] == known.release
        return (toolkit,) if exact or not above else (toolkit, above[0][1])

    def _pinned(self) -> list[tuple[Version, DottedVersion]]:
        rows = ((row.version(self.name), row.toolkit) for row in self.scene.tables.toolkits)
        return sorted(
            ((version, toolkit) for version, toolkit in rows if version),
            key=lambda pair: (pair[0], pair[1]),
        )


class Toolkit(Artefact):
    """The `cuda-toolkit` metapackage with some of its extras."""

    def __init__(self, scene: Scene, extras: tuple[str, ...]) -> None:
        super().__init__("cuda-toolkit", scene)
        self._extras = extras

    def versions(self) -> Iterator[tuple[str, ...]]:
        line = self.scene.line
        yield tuple(
            str(row.toolkit)
            for row in self.scene.tables.toolkits
            if line is None or row.toolkit.major == line.major
        )

    def cuda(self, version: str) -> DottedVersion | None:
        return DottedVersion.parse(str(version_of(version).major))

    def coverage(self, version: str, capability: ComputeCapability) -> tuple[Coverage, str]:
        minor = _minor(DottedVersion.parse(version_of(version).base_version))
        for row in self.scene.tables.toolkits:
            if minor.covers(row.toolkit):
                for name in sorted(
                    {name for key in self._extras for name in row.extras.get(key, ())}
                ):
                    library = self.scene.tables.library(name)
                    pinned = row.version(name)
                    if library and library.code and pinned:
                        whole = Library(name, self.scene, code=True)
                        return whole.coverage(str(pinned), capability)
        return Coverage.NATIVE, ""


class OfCuda(Artefact):
    """Some other package of NVIDIA's whose name says its CUDA major."""

    def __init__(self, name: str, major: int, scene: Scene) -> None:
        super().__init__(name, scene)
        self._major = major

    def cuda(self, version: str) -> DottedVersion | None:
        return DottedVersion.parse(str(self._major))


def named(
    name: str, scene: Scene, *, label: str | None = None, extras: tuple[str, ...] = ()
) -> Artefact | None:
    """The artefact of a name; None: it is none, or nothing is known of it."""
    if tensorrt := TENSORRT.fullmatch(name):
        major = tensorrt["cuda"]
        return TensorRT(name, tensorrt["flavour"] or "", int(major) if major else None, scene)
    if name == "torch":
        return Torch(scene, label) if label is None or re.fullmatch(r"cu[0-9]{2,}", label) else None
    if name == "cuda-toolkit":
        return Toolkit(scene, extras)
    suffix = SUFFIXED.fullmatch(name)
    if suffix and name.startswith(f"{CUDNN}-"):
        return Cudnn(name, int(suffix[1]), scene)
    if library := scene.tables.library(name):
        return Library(name, scene, code=library.code)
    return OfCuda(name, int(suffix[1]), scene) if suffix else None


def _fits(row: TensorRTWheels, scene: Scene) -> bool:
    """Whether one of TensorRT's wheels is for this Python and platform."""
    if scene.platforms is None:
        return True
    python = None
    if scene.interpreter is not None:
        digits = "".join(map(str, scene.interpreter.minor))
        python = f"cp{digits}{'t' if scene.interpreter.free_threaded else ''}"
    return any(
        platform in scene.platforms and (python is None or python in pythons)
        for platform, pythons in row.wheels
    )


def normal_machine(machine: str) -> str:
    """A machine as Linux names it: Windows and macOS have names of their own."""
    return {"AMD64": "x86_64", "arm64": "aarch64", "ARM64": "aarch64"}.get(machine, machine)


def _torch_minors(tables: ArtefactFacts) -> tuple[str, ...]:
    """PyTorch's minor versions, as far as the tables go."""
    known = [
        version
        for row in tables.torch_defaults
        for version in (row.versions.first, row.versions.before)
        if version
    ]
    newest = max((version.minor for version in known), default=-1)
    return tuple(f"2.{minor}" for minor in range(newest + 1))


def _majors(code: Code) -> int:
    return max(int(text.partition(".")[0]) for text in (*code.sass, *code.ptx))


def _minor(toolkit: DottedVersion) -> DottedVersion:
    return DottedVersion.parse(".".join(str(toolkit).split(".")[:2]))


def public(version: str) -> str:
    """A version without its local part."""
    return version.partition("+")[0]


def parsed(text: str | None) -> Version | None:
    """A version, or None where it is none."""
    from provisioner.core.artefact_facts import parse_version

    return parse_version(text)


@lru_cache(maxsize=512)
def version_of(text: str) -> Version:
    """A version that is known to be one."""
    from packaging.version import Version

    return Version(text)
