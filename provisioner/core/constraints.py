"""Constraints that make one coherent set of packages, where gpuenv resolves itself.

A resolver knows nothing of GPUs and drivers: told nothing, it takes the newest version of
everything, which may have no code for the GPUs, no wheel for the C library, or be for another
CUDA than the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.core.artefact_kinds import (
    CUDNN,
    Scene,
    TensorRT,
    Torch,
    public,
    version_of,
)
from provisioner.core.coverage import has_machine_code

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.core.artefact_facts import ArtefactFacts, CodeRule
    from provisioner.core.facts import Facts
    from provisioner.core.host import Gpu, Host
    from provisioner.core.interpreter import Interpreter
    from provisioner.core.version import DottedVersion

_FLAVOURS: Final = ("tensorrt", "tensorrt-lean", "tensorrt-dispatch")


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraint:
    """A requirement (PEP 508) that only narrows versions, why, and the source of the rule."""

    requirement: str
    why: str
    source: str = ""

    def __str__(self) -> str:
        """The line of a constraints file."""
        return self.requirement

    @property
    def name(self) -> str:
        """The package that it is about."""
        return re.split(r"[^A-Za-z0-9_.-]", self.requirement, maxsplit=1)[0]


def constraints(  # noqa: PLR0913, PLR0917 - what is resolved for, and the tables
    cuda: DottedVersion | None,
    host: Host,
    gpus: tuple[Gpu, ...],
    facts: Facts,
    artefact_facts: ArtefactFacts,
    interpreter: Interpreter | None,
    label: str | None = None,
) -> tuple[Constraint, ...]:
    """What a resolver has to keep to for a CUDA line, so that everything runs on these GPUs.

    `label` names the index of PyTorch (`cu128`) that PyTorch is taken from; None: PyPI.
    Where no version of a package would do, there is no constraint on it: that is told
    by judging, not by a resolution that fails.
    """
    if cuda is None:
        return ()
    scene = Scene(host, gpus, facts, artefact_facts, interpreter, cuda)
    every = (
        *_tensorrt(cuda, scene),
        *_cudnn(cuda, scene),
        *_toolkit(cuda, scene),
        *_torch(cuda, scene, label),
    )
    # One bound may have two reasons: the first is told.
    told: dict[str, Constraint] = {}
    for item in every:
        told.setdefault(item.requirement, item)
    return tuple(told.values())


def _tensorrt(cuda: DottedVersion, scene: Scene) -> Iterator[Constraint]:
    suffix = f"-cu{cuda.major}"
    artefact = TensorRT(f"tensorrt{suffix}", "", cuda.major, scene)
    known = next(artefact.versions(), ())
    yield from _plain_tensorrt(cuda, scene)
    for bad in scene.tables.tensorrt_bad:
        if bad.cuda == cuda.major:
            yield Constraint(
                requirement=f"tensorrt{suffix}!={bad.version}",
                why=f"TensorRT {bad.version} cannot be installed",
                source=bad.source,
            )
    working = [version for version in known if artefact.runs(version)]
    if not working:
        return
    newer = [version for version in known if version_of(version) > version_of(working[-1])]
    if newer:
        yield from _newest_tensorrt(artefact, suffix, working[-1], newer[0])
    older = [version for version in known if version_of(version) < version_of(working[0])]
    if older and (lacks := artefact.no_file(older[-1])):
        for name in _FLAVOURS:
            yield Constraint(
                requirement=f"{name}{suffix}>={working[0]}",
                why=f"TensorRT {older[-1]} {lacks[0]}",
                source=lacks[1],
            )


def _newest_tensorrt(
    artefact: TensorRT, suffix: str, newest: str, after: str
) -> Iterator[Constraint]:
    """The upper bound, by the first version after the newest that works."""
    for rule in artefact.rules(after):
        why = _excluded(rule, artefact.scene)
        if why and rule.versions.first:
            for name in _FLAVOURS:
                for whole in (name, f"{name}{suffix}"):
                    yield Constraint(
                        requirement=f"{whole}<{rule.versions.first}",
                        why=f"TensorRT {rule.versions.first} and newer {why}",
                        source=rule.source,
                    )
            return
    lacks = artefact.no_file(after)
    assert lacks is not None  # noqa: S101 - else it would work
    for name in _FLAVOURS:
        for whole in (name, f"{name}{suffix}"):
            yield Constraint(
                requirement=f"{whole}<={newest}",
                why=f"TensorRT {after} {lacks[0]}",
                source=lacks[1],
            )


def _excluded(rule: CodeRule, scene: Scene) -> str | None:
    """What a rule says against a host."""
    if scene.kind in rule.never_on:
        return f"does not support {scene.kind.capitalize()}"
    lacking = next((item for item in scene.capabilities if rule.excludes(item)), None)
    return None if lacking is None else f"has no code for {scene.gpu_text(lacking)}"


def _plain_tensorrt(cuda: DottedVersion, scene: Scene) -> Iterator[Constraint]:
    """Plain `tensorrt` is for another CUDA from some version on."""
    plain = TensorRT("tensorrt", "", None, scene)
    known = next(plain.versions(), ())
    own = [item for item in known if (of := plain.cuda(item)) and of.major == cuda.major]
    if own and own[-1] != known[-1]:
        other = plain.cuda(known[-1])
        source = next(row.source for row in scene.tables.tensorrt_cuda if not row.versions.before)
        yield Constraint(
            requirement=f"tensorrt<={own[-1]}",
            why=f"newer versions of `tensorrt` are for CUDA {other}",
            source=source,
        )


def _cudnn(cuda: DottedVersion, scene: Scene) -> Iterator[Constraint]:
    rules = [
        rule
        for rule in scene.tables.code_rules
        if rule.package == CUDNN and rule.cuda == cuda.major
    ]
    if all(any(rule.excludes(item) for item in scene.capabilities) for rule in rules):
        return
    for rule in rules:
        why = _excluded(rule, scene)
        if why and rule.versions.first:
            yield Constraint(
                requirement=f"{CUDNN}-cu{cuda.major}<{rule.versions.first}",
                why=f"cuDNN {rule.versions.first} and newer {why}",
                source=rule.source,
            )


def _toolkit(cuda: DottedVersion, scene: Scene) -> Iterator[Constraint]:
    facts = scene.facts
    newest = max(scene.tables.toolkits, key=lambda row: row.toolkit, default=None)
    if newest is not None and newest.toolkit.major > cuda.major:
        yield Constraint(
            requirement=f"cuda-toolkit<{cuda.major + 1}",
            why=f"the rest is for CUDA {cuda.major}",
            source=newest.source,
        )
    known = [item for item in scene.capabilities if not facts.is_newer(item)]
    rows = sorted(
        (row for row in facts.toolkits if row.cuda.major == cuda.major), key=lambda row: row.cuda
    )
    without = [
        (row, item)
        for row in rows
        for item in known
        if not has_machine_code(row.capabilities, item)
    ]
    if not without or without[-1][0] is rows[-1]:
        return
    last, lacking = without[-1]
    first = rows[rows.index(last) + 1]
    yield Constraint(
        requirement=f"cuda-toolkit>={first.cuda}",
        why=f"CUDA {last.cuda} has no code for {scene.gpu_text(lacking)}",
        source=last.source,
    )


def _torch(cuda: DottedVersion, scene: Scene, label: str | None) -> Iterator[Constraint]:
    if scene.kind == "jetson":
        return  # PyTorch for Jetson is not PyTorch's own build.
    torch = Torch(scene, label)
    known = next(torch.versions(), ())
    working = [
        version
        for version in known
        if torch.runs(version) and (of := torch.cuda(version)) and of.major == cuda.major
    ]
    if not working:
        return
    newer = [version for version in known if version_of(version) > version_of(working[-1])]
    if newer:
        why, source = _against_torch(torch, newer[0], cuda)
        yield Constraint(requirement=f"torch<{_minor(newer[0])}", why=why, source=source)
    failing = [
        position
        for position, version in enumerate(known[: known.index(working[0])])
        # A resolver sees for itself that there is no wheel for a Python.
        if not all(torch.coverage(version, item)[0].runs for item in scene.capabilities)
    ]
    if failing:
        why, source = _against_torch(torch, known[failing[-1]], cuda)
        first = _minor(known[failing[-1] + 1])
        yield Constraint(requirement=f"torch>={first}", why=why, source=source)


def _against_torch(torch: Torch, version: str, cuda: DottedVersion) -> tuple[str, str]:
    """What speaks against a version of PyTorch for a CUDA line, and the source."""
    scene = torch.scene
    for capability in scene.capabilities:
        found, source = torch.coverage(version, capability)
        if not found.runs:
            gpu = scene.gpu_text(capability)
            return f"PyTorch {_minor(version)} has no code for {gpu}", source
    if lacks := torch.no_file(version):
        return f"PyTorch {_minor(version)} {lacks[0]}", lacks[1]
    default = next(
        row for row in scene.tables.torch_defaults if version_of(version) in row.versions
    )
    of = torch.cuda(version)
    return f"PyTorch {_minor(version)} is for CUDA {of}, the rest for CUDA {cuda.major}", (
        default.source
    )


def _minor(version: str) -> str:
    return ".".join(public(version).split(".")[:2])
