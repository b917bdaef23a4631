"""The packages that are known to have code for GPUs, and what the tables say of each."""

# ruff: noqa: ARG002, D102 - a kind overrides what `Artefact` documents, and may not need it all

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final

from provisioner.core.coverage import Coverage, cover, has_machine_code
from provisioner.core.facts import cuda_of_label, leading_version
from provisioner.core.plausible import machine_of
from provisioner.core.version import DottedVersion
from provisioner.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from packaging.specifiers import SpecifierSet
    from packaging.tags import Tag
    from packaging.version import Version

    from provisioner.core.artefact_facts import ArtefactFacts, CodeRule, TensorRTWheels
    from provisioner.core.coverage import Code
    from provisioner.core.facts import Facts
    from provisioner.core.host import Gpu, Host, PlatformClass, System
    from provisioner.core.interpreter import Interpreter
    from provisioner.core.version import ComputeCapability

CUDNN: Final = "nvidia-cudnn"
TORCH: Final = "torch"
TENSORRT: Final = re.compile(
    r"tensorrt(?P<flavour>-lean|-dispatch|-rtx)?(?:-cu(?P<cuda>[0-9]+))?(?P<part>-libs|-bindings)?"
)
_LABEL: Final = re.compile(r"cu[0-9]{2,}")
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
        return machine_of(self.host.platform.machine, "linux")

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
        """What the driver is known to be short of for a CUDA version, with the rule's source."""
        gap = self.facts.driver_gap(self.host, cuda)
        if gap is None or gap.code in {"no-driver", "driver-unknown"}:
            return None
        return gap.words, gap.source

    def gpu_text(self, capability: ComputeCapability) -> str:
        """A compute capability with the names of the GPUs that have it."""
        names = {gpu.name for gpu in self.gpus if gpu.compute_capability == capability}
        shown = ", ".join(sorted(name for name in names if name))
        return f"compute capability `{capability}`" + (f" ({shown})" if shown else "")

    @property
    def python_tag(self) -> str | None:
        """The Python tag of wheels with compiled code, such as `cp313t`; None: not known."""
        if self.interpreter is None:
            return None
        digits = "".join(map(str, self.interpreter.minor))
        return f"cp{digits}{'t' if self.interpreter.free_threaded else ''}"

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

    def older_than(self, version: str, capability: ComputeCapability) -> DottedVersion | None:
        """The CUDA version that it was built with, if that did not know the GPU yet."""
        return None

    def refused(self, version: str) -> tuple[str, str] | None:
        """Why it cannot be installed, whatever files there are of it, with the source."""
        return None

    def no_file(self, version: str) -> tuple[str, str] | None:
        """Why no file of it can be installed, as far as the tables know, with the source."""
        return self.refused(version)

    def is_tabled(self, name: str) -> bool:
        """Whether the tables tell of the wheels of this one of its packages."""
        return name == self.name

    def patch(self, version: str) -> str | None:
        """A version whose minor version is known, as one of those in `versions`."""
        return None

    def may_come(self, specifier: SpecifierSet) -> bool:
        """Whether a version that is newer than the tables may be what a requirement needs."""
        return False

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

    def nearest(self, version: str, but: SpecifierSet | None = None) -> str | None:
        """The newest older version that works, or else the oldest newer one.

        What a specifier takes is left out with it: that is known not to do.
        """
        wanted = version_of(version)
        known = next(self.versions(), ())
        others = [item for item in known if version_of(item) != wanted and not _taken(item, but)]
        older = [item for item in others if version_of(item) < wanted]
        ordered = (*reversed(older), *others[len(older) :])
        return next((item for item in ordered if self.works(item)), None)

    def elsewhere(self, version: str, asked: SpecifierSet | None = None) -> str | None:
        """A nearer version that works, of another index of PyTorch: `2.9+cu130`.

        `asked` is what a requirement says, where the version only follows from that.
        """
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
        parsed = version_of(version)
        rule = self.scene.tables.excluding(self._package, self._cuda(parsed), parsed, capability)
        return (Coverage.NONE, rule.source) if rule else (Coverage.NATIVE, "")

    def doubt(self, version: str, capability: ComputeCapability) -> str | None:
        doubts = (rule for rule in self.rules(version) if capability in rule.doubtful)
        return next((rule.source for rule in doubts), None)

    def refused(self, version: str) -> tuple[str, str] | None:
        parsed = version_of(version)
        kind = self.scene.kind
        for rule in self.rules(version):
            if kind in rule.never_on:
                return f"does not support {kind.capitalize()}", rule.source
        major = self._cuda(parsed)
        for bad in self.scene.tables.tensorrt_bad:
            if bad.version == parsed and bad.cuda == major and self._package == "tensorrt":
                return "cannot be installed", bad.source
        return None

    def no_file(self, version: str) -> tuple[str, str] | None:
        if refused := self.refused(version):
            return refused
        row = self._wheels(version_of(version))
        if row is None or _fits(row, self.scene):
            return None
        return f"has no wheel for {self.scene.place}", row.source

    def is_tabled(self, name: str) -> bool:
        return name.endswith("-bindings")

    def may_come(self, specifier: SpecifierSet) -> bool:
        """A newer version may have a wheel for a Python that is newer than the tables."""
        known = next(self.versions(), ())
        python = self.scene.interpreter
        if python is None or not known:
            return False
        wheels = (wheels for row in self.scene.tables.tensorrt_wheels for wheels in row.wheels)
        newer = str(version_of(known[-1]).major + 1)
        return (
            python.minor > _newest_python(tag for _, tags in wheels for tag in tags)
            and specifier.contains(newer, prereleases=True)
            and self.works(newer)
        )

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

    def _wheels(self, version: Version) -> TensorRTWheels | None:
        """The row of a version; of one that is newer than the tables nothing is known."""
        if self._package != "tensorrt":
            return None
        major = self._cuda(version)
        return next(
            (
                row
                for row in self.scene.tables.tensorrt_wheels
                if row.cuda == major and row.version == version
            ),
            None,
        )


class Torch(Artefact):
    """PyTorch, from an index of its own or, without a label, from PyPI."""

    def __init__(self, scene: Scene, label: str | None) -> None:
        super().__init__(TORCH, scene)
        self._label = label

    @cached_property
    def _newest(self) -> int:
        """The newest major compute capability that any build has code for."""
        return max(_majors(row.code) for row in self.scene.facts.torch_builds)

    @property
    def title(self) -> str:
        return f"`torch` of PyTorch's index `{self._label}`" if self._label else "`torch`"

    def versions(self) -> Iterator[tuple[str, ...]]:
        yield self._of_index(self._label)
        for label in self.labels:
            if label != self._label:
                yield self._of_index(label)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The indexes with builds for this machine, by their CUDA version."""
        scene = self.scene
        builds = scene.facts.torch_builds
        fitting = {row.label for row in builds if row.fits(row.label, scene.machine, scene.system)}
        return tuple(sorted(fitting, key=cuda_of_label))

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
        scene = self.scene
        libc = scene.host.platform.libc
        if libc is None or scene.system != "linux" or not _of_pytorch(version):
            return None
        base = _base(version)
        wheels = scene.tables.torch_wheel(base, scene.machine, self._index(version))
        lacks = f"has no wheel for {scene.place}"
        if wheels and (libc[0] != "glibc" or DottedVersion.parse(libc[1]) < wheels.glibc):
            return lacks, wheels.source
        pythons = scene.tables.torch_python(base, scene.machine)
        tag = scene.python_tag
        if pythons is None or tag is None or tag in pythons.pythons:
            return None
        # PyTorch's own indexes had free-threaded builds before PyPI did.
        own = self._label or "+" in version
        return None if own and tag.endswith("t") else (lacks, pythons.source)

    def may_come(self, specifier: SpecifierSet) -> bool:
        """A newer version may have a wheel for a Python that is newer than the tables."""
        scene = self.scene
        python = scene.interpreter
        rows = scene.tables.torch_pythons
        goes_on = self._label is None or any(
            row.fits(self._label, scene.machine, scene.system) and row.last is None
            for row in scene.facts.torch_builds
        )
        if python is None or not rows or not goes_on:
            return False
        newer = f"2.{len(_torch_minors(scene.tables))}"
        return (
            python.minor > _newest_python(tag for row in rows for tag in row.pythons)
            and specifier.contains(newer, prereleases=True)
            and self.works(newer)
        )

    def patch(self, version: str) -> str | None:
        minor = leading_version(version)
        known = next(self.versions(), ())
        found = next((item for item in known if leading_version(item) == minor), None)
        return found and f"{version}{''.join(found.partition('+')[1:])}"

    def older_than(self, version: str, capability: ComputeCapability) -> DottedVersion | None:
        cuda = self.cuda(version)
        facts = self.scene.facts
        known = self.coverage(version, capability)[1]
        if cuda is None or not known or capability in facts.code(cuda):
            return None
        newer = (row for row in facts.toolkits if row.cuda > cuda)
        return cuda if any(capability in row.capabilities for row in newer) else None

    def nearest(self, version: str, but: SpecifierSet | None = None) -> str | None:
        found = self._nearest_own(version, but)
        return found and _text(_release(found))

    def elsewhere(self, version: str, asked: SpecifierSet | None = None) -> str | None:
        own = self._nearest_own(version, asked)
        index = self._index(version)
        cuda = _number(index) if index else 0
        others = [
            item
            for label in self.labels
            if label != (version.partition("+")[2] or self._label)
            for item in self._of_index(label)
            if (own is None or _distance(item, version) < _distance(own, version))
        ]
        # Of equal versions, the one of the nearest CUDA.
        others.sort(
            key=lambda item: (_distance(item, version), abs(_number(item.partition("+")[2]) - cuda))
        )
        found = next(filter(self.works, others), None)
        if found is None:
            return None
        written = asked is None or any(
            item.operator in {"==", "==="} and item.version == version for item in asked
        )
        # The patch version of the one that is there, if it is known to be one.
        same = _release(found) == _release(version) and not version_of(version).is_prerelease
        number = public(version) if same and written else _text(_release(found))
        return f"{number}+{found.partition('+')[2]}"

    def remedy(self) -> str | None:
        """The newest builds that work here, in words."""
        working = {label: list(filter(self.works, self._of_index(label))) for label in self.labels}
        # Of equal versions, the one of the newest CUDA.
        label = max(
            (label for label in self.labels if working[label]),
            key=lambda item: (_release(working[item][-1]), _number(item)),
            default=None,
        )
        if label is None:
            return None
        first, last = _release(working[label][0]), _release(working[label][-1])
        newest = _release(_torch_minors(self.scene.tables)[-1])
        if first != _release(self._of_index(label)[0]):
            until = " and newer" if last == newest else f" to {_text(last)}"
            which = f" {_text(first)}{until}"
        else:
            which = "" if last == newest else f" before {_text((last[0], last[1] + 1))}"
        capabilities = " and ".join(f"`{item}`" for item in self.scene.capabilities)
        return (
            f"PyTorch{which} has builds for compute capability {capabilities}, on index `{label}`"
        )

    def _nearest_own(self, version: str, but: SpecifierSet | None) -> str | None:
        """The nearest minor version that works, of the index that a version is of."""
        known = [
            item
            for item in self._of_index(version.partition("+")[2] or self._label)
            # Another patch version of the same minor version is no better.
            if _release(item) != _release(version) and not _taken(item, but)
        ]
        known.sort(key=lambda item: _distance(item, version))
        return next((item for item in known if self.works(item)), None)

    def _of_index(self, label: str | None) -> tuple[str, ...]:
        """The minor versions of an index, as their first patch version; None: of PyPI."""
        scene = self.scene
        minors = _torch_minors(scene.tables)
        if label is None:
            return tuple(f"{item}.0" for item in minors if self._default(f"{item}.0"))
        rows = [
            row for row in scene.facts.torch_builds if row.fits(label, scene.machine, scene.system)
        ]
        return tuple(
            f"{item}.0+{label}"
            for item in minors
            if any(row.holds(DottedVersion.parse(item)) for row in rows)
        )

    def _index(self, version: str) -> str | None:
        """The index whose build a version is; None: the build is for the CPU, or not known."""
        if local := version.partition("+")[2]:
            return local if _of_pytorch(version) else None
        return self._label or self._default(version)

    def _default(self, version: str) -> str | None:
        if self.scene.system != "linux":
            return None
        return self.scene.tables.default_torch(_base(version), self.scene.machine)


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
        rule = self.scene.tables.excluding(CUDNN, self._major, version_of(version), capability)
        return (Coverage.NONE, rule.source) if rule else (Coverage.NATIVE, "")


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
        known = self._code(version)
        if not known or capability >= min(known):
            return Coverage.NATIVE, ""
        return Coverage.NONE, self._source

    def doubt(self, version: str, capability: ComputeCapability) -> str | None:
        """It may have PTX for GPUs that are newer than some that its toolkit has code for."""
        known = self._code(version)
        newer = self.scene.facts.is_newer(capability)
        if not known or newer or capability <= min(known) or has_machine_code(known, capability):
            return None
        return self._source

    @property
    def _source(self) -> str:
        return next((row.source for row in self.scene.facts.toolkits), "")

    def _code(self, version: str) -> tuple[ComputeCapability, ...]:
        """What its toolkit has code for; none of them: it has none itself, or is not known."""
        toolkits = self._toolkits(version) if self._has_code else ()
        facts = self.scene.facts
        return tuple({item for toolkit in toolkits for item in facts.code(_minor(toolkit))})

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

    def __init__(self, scene: Scene, extras: frozenset[str]) -> None:
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
        found = self._library(version)
        return found[0].coverage(found[1], capability) if found else (Coverage.NATIVE, "")

    def doubt(self, version: str, capability: ComputeCapability) -> str | None:
        found = self._library(version)
        return found[0].doubt(found[1], capability) if found else None

    def _library(self, version: str) -> tuple[Library, str] | None:
        """The first of its libraries that has code, with the version that it pins."""
        minor = _minor(DottedVersion.parse(version_of(version).base_version))
        for row in self.scene.tables.toolkits:
            if minor.covers(row.toolkit):
                for name in sorted(
                    {name for key in self._extras for name in row.extras.get(key, ())}
                ):
                    library = self.scene.tables.library(name)
                    pinned = row.version(name)
                    if library and library.code and pinned:
                        return Library(name, self.scene, code=True), str(pinned)
        return None


class OfCuda(Artefact):
    """Some other package of NVIDIA's whose name says its CUDA major."""

    def __init__(self, name: str, major: int, scene: Scene) -> None:
        super().__init__(name, scene)
        self._major = major

    def cuda(self, version: str) -> DottedVersion | None:
        return DottedVersion.parse(str(self._major))


def named(
    name: str, scene: Scene, *, label: str | None = None, extras: frozenset[str] = frozenset()
) -> Artefact | None:
    """The artefact of a name; None: it is none, or nothing is known of it.

    PyTorch for Jetson is not PyTorch's own build.
    """
    if tensorrt := TENSORRT.fullmatch(name):
        major = tensorrt["cuda"]
        return TensorRT(name, tensorrt["flavour"] or "", int(major) if major else None, scene)
    if name == TORCH:
        known = scene.kind != "jetson" and (label is None or _LABEL.fullmatch(label))
        return Torch(scene, label) if known else None
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
    python = scene.python_tag
    return any(
        platform in scene.platforms and (python is None or python in pythons)
        for platform, pythons in row.wheels
    )


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


def _of_pytorch(version: str) -> bool:
    """Whether a version of PyTorch is of an index for CUDA, or of whatever index it is taken."""
    local = version.partition("+")[2]
    return not local or _LABEL.fullmatch(local) is not None


def _base(version: str) -> Version:
    """Without what marks a pre-release: it is of the version that it comes before."""
    return version_of(version_of(version).base_version)


def _taken(version: str, specifier: SpecifierSet | None) -> bool:
    return specifier is not None and specifier.contains(version, prereleases=True)


def _release(version: str) -> tuple[int, int]:
    """Major and minor version."""
    major, minor = (*version_of(version).release, 0)[:2]
    return major, minor


def _text(release: tuple[int, int]) -> str:
    return ".".join(map(str, release))


def _distance(version: str, wanted: str) -> tuple[bool, int, int]:
    """How far a version is from another: older ones are nearer than newer ones."""
    (major, minor), (wanted_major, wanted_minor) = _release(version), _release(wanted)
    newer = (major, minor) > (wanted_major, wanted_minor)
    return newer, abs(major - wanted_major), abs(minor - wanted_minor)


def _number(label: str) -> int:
    """128 of `cu128`."""
    return int(label.removeprefix("cu"))


def _newest_python(tags: Iterable[str]) -> tuple[int, int]:
    """The newest Python of some tags such as `cp313t`."""
    return 3, max(int(tag.removeprefix("cp3").rstrip("t")) for tag in tags)


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
