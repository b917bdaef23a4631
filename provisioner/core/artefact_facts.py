"""Tables of what is in GPU packages: their code, their wheels, what they are for.

Kept apart from `facts`, since only judging packages needs them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from packaging.version import InvalidVersion, Version

from provisioner.core.facts import rows_of
from provisioner.core.version import ComputeCapability, DottedVersion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.core.host import PlatformClass, System

TABLES: Final = (
    "cuda_libraries",
    "cuda_toolkit_pins",
    "cudnn_code",
    "tensorrt_bad",
    "tensorrt_code",
    "tensorrt_cuda",
    "tensorrt_wheels",
    "torch_defaults",
    "torch_pythons",
    "torch_wheels",
)
"""The JSON files that these are read from."""

_PIN: Final = re.compile(r"(?:==|<\d+,>=)([0-9.]+?)(?:\.\*)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Versions:
    """Versions from `first` on and before `before`; None: open."""

    first: Version | None = None
    before: Version | None = None

    def __contains__(self, version: Version) -> bool:
        """Whether a version is one of them."""
        return (self.first is None or self.first <= version) and (
            self.before is None or version < self.before
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeRule:
    """Which GPUs some versions of a package have code for, as far as it is known.

    None below `minimum`, none for those in `never`, none on the platforms `never_on`; for
    those in `doubtful` it is not known for certain.
    """

    package: str
    cuda: int | None
    versions: Versions
    minimum: ComputeCapability | None = None
    never: tuple[ComputeCapability, ...] = ()
    never_on: tuple[PlatformClass, ...] = ()
    doubtful: tuple[ComputeCapability, ...] = ()
    newest: Version | None = None
    source: str = ""

    def excludes(self, capability: ComputeCapability) -> bool:
        """Whether there is certainly no code for it."""
        below = self.minimum is not None and capability < self.minimum
        return below or capability in self.never


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorRTWheels:
    """The wheels of a version of TensorRT's bindings: platform tags with their Python tags."""

    version: Version
    cuda: int
    wheels: tuple[tuple[str, tuple[str, ...]], ...]
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorRTCuda:
    """The CUDA major whose TensorRT plain `tensorrt` requires; `system` None: on every other."""

    versions: Versions
    cuda: int
    system: System | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorRTBad:
    """A version of TensorRT that cannot be installed."""

    version: Version
    cuda: int
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CudaLibrary:
    """A package of the CUDA toolkit, named without its CUDA suffix, and whether it has GPU code."""

    name: str
    code: bool
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolkitPins:
    """The packages of a toolkit with the versions that it pins, and those of each extra."""

    toolkit: DottedVersion
    pins: Mapping[str, str]
    extras: Mapping[str, tuple[str, ...]]
    source: str = ""

    def version(self, package: str) -> Version | None:
        """The pinned version, without the last part that is left open."""
        found = _PIN.fullmatch(self.pins.get(package, ""))
        return Version(found[1]) if found else None


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchDefault:
    """The index whose build of PyTorch PyPI has for Linux."""

    versions: Versions
    label: str
    machine: str
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchWheels:
    """The lowest glibc of PyTorch's wheels; `label` None: of every index without a row."""

    versions: Versions
    machine: str
    glibc: DottedVersion
    label: str | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchPythons:
    """The Python tags of PyTorch's wheels for Linux."""

    versions: Versions
    machines: tuple[str, ...]
    pythons: tuple[str, ...]
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtefactFacts:
    """The tables that judging packages reads."""

    code_rules: tuple[CodeRule, ...] = ()
    tensorrt_wheels: tuple[TensorRTWheels, ...] = ()
    tensorrt_cuda: tuple[TensorRTCuda, ...] = ()
    tensorrt_bad: tuple[TensorRTBad, ...] = ()
    libraries: tuple[CudaLibrary, ...] = ()
    toolkits: tuple[ToolkitPins, ...] = ()
    torch_defaults: tuple[TorchDefault, ...] = ()
    torch_wheels: tuple[TorchWheels, ...] = ()
    torch_pythons: tuple[TorchPythons, ...] = ()

    def rules(self, package: str, cuda: int | None, version: Version) -> tuple[CodeRule, ...]:
        """What is known of the code of one version of a package."""
        return tuple(
            rule
            for rule in self.code_rules
            if rule.package == package and rule.cuda in {None, cuda} and version in rule.versions
        )

    def excluding(
        self, package: str, cuda: int | None, version: Version, capability: ComputeCapability
    ) -> CodeRule | None:
        """The rule by which a version has no code for a compute capability.

        If the versions right before had none either, it is the rule that it began with.
        """
        rules = [
            rule
            for rule in self.code_rules
            if rule.package == package and rule.cuda in {None, cuda} and rule.excludes(capability)
        ]
        found = next((rule for rule in rules if version in rule.versions), None)
        while found is not None:
            first = found.versions.first
            before = next((rule for rule in rules if first and rule.versions.before == first), None)
            if before is None:
                break
            found = before
        return found

    def torch_wheel(self, version: Version, machine: str, label: str | None) -> TorchWheels | None:
        """What is known of the wheels of a version of PyTorch from an index."""
        fitting = [
            row for row in self.torch_wheels if row.machine == machine and version in row.versions
        ]
        own = [row for row in fitting if row.label == label]
        return next(iter([*own, *(row for row in fitting if row.label is None)]), None)

    def torch_python(self, version: Version, machine: str) -> TorchPythons | None:
        """The Pythons that there are wheels of a version of PyTorch for."""
        rows = (row for row in self.torch_pythons if machine in row.machines)
        return next((row for row in rows if version in row.versions), None)

    def library(self, name: str) -> CudaLibrary | None:
        """A package of the CUDA toolkit, by its name with or without a CUDA suffix."""
        plain = re.sub(r"-cu[0-9]+$", "", name)
        return next((row for row in self.libraries if row.name == plain), None)

    def default_torch(self, version: Version, machine: str) -> str | None:
        """The index whose build of a version of PyTorch PyPI has for Linux."""
        return next(
            (
                row.label
                for row in self.torch_defaults
                if row.machine == machine and version in row.versions
            ),
            None,
        )


def parse_version(text: str | None) -> Version | None:
    """A PEP 440 version, or None where it is none."""
    try:
        return None if text is None else Version(text)
    except InvalidVersion:
        return None


def read_artefact_facts(tables: Mapping[str, Mapping[str, Any]]) -> ArtefactFacts:
    """Make the tables from the JSON files that `TABLES` names."""
    return ArtefactFacts(
        code_rules=(
            *rows_of(tables["tensorrt_code"], _code_rule),
            *rows_of(tables["cudnn_code"], _code_rule),
        ),
        tensorrt_wheels=rows_of(
            tables["tensorrt_wheels"],
            lambda row, source: TensorRTWheels(
                version=Version(row["tensorrt"]),
                cuda=int(row["cuda"]),
                wheels=tuple((tag, tuple(pythons)) for tag, pythons in row["wheels"].items()),
                source=source,
            ),
        ),
        tensorrt_cuda=rows_of(
            tables["tensorrt_cuda"],
            lambda row, source: TensorRTCuda(
                versions=_versions(row),
                cuda=int(row["cuda"]),
                system=row["system"],
                source=source,
            ),
        ),
        tensorrt_bad=rows_of(
            tables["tensorrt_bad"],
            lambda row, source: TensorRTBad(
                version=Version(row["tensorrt"]), cuda=int(row["cuda"]), source=source
            ),
        ),
        libraries=rows_of(
            tables["cuda_libraries"],
            lambda row, source: CudaLibrary(name=row["name"], code=row["code"], source=source),
        ),
        toolkits=rows_of(
            tables["cuda_toolkit_pins"],
            lambda row, source: ToolkitPins(
                toolkit=DottedVersion.parse(row["toolkit"]),
                pins=row["pins"],
                extras={key: tuple(names) for key, names in row["extras"].items()},
                source=source,
            ),
        ),
        torch_defaults=rows_of(
            tables["torch_defaults"],
            lambda row, source: TorchDefault(
                versions=_versions(row), label=row["index"], machine=row["machine"], source=source
            ),
        ),
        torch_wheels=rows_of(
            tables["torch_wheels"],
            lambda row, source: TorchWheels(
                versions=_versions(row),
                machine=row["machine"],
                glibc=DottedVersion.parse(row["glibc"]),
                label=row["index"],
                source=source,
            ),
        ),
        torch_pythons=rows_of(
            tables["torch_pythons"],
            lambda row, source: TorchPythons(
                versions=_versions(row),
                machines=tuple(row["machines"]),
                pythons=tuple(row["pythons"]),
                source=source,
            ),
        ),
    )


def _code_rule(row: Mapping[str, Any], source: str) -> CodeRule:
    minimum = row["minimum"]
    return CodeRule(
        package=row["package"],
        cuda=None if row["cuda"] is None else int(row["cuda"]),
        versions=_versions(row),
        minimum=None if minimum is None else ComputeCapability.parse(minimum),
        never=_capabilities(row.get("never", ())),
        never_on=tuple(row.get("never_on", ())),
        doubtful=_capabilities(row.get("doubtful", ())),
        newest=parse_version(row.get("newest")),
        source=source,
    )


def _capabilities(texts: Iterable[str]) -> tuple[ComputeCapability, ...]:
    return tuple(map(ComputeCapability.parse, texts))


def _versions(row: Mapping[str, Any]) -> Versions:
    return Versions(first=parse_version(row["first"]), before=parse_version(row["before"]))
