"""`gpuenv bake dockerfile`: the same environments, for those who stay with `docker build`."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters.build_context import (
    may_be_replaced,
    publish,
    write_context,
    write_library,
)
from provisioner.adapters.leases import Leases
from provisioner.adapters.oci_layout import LOCK, refuse_unwritable_output, staged_beside
from provisioner.core.dockerfile import (
    INSTALLER,
    MARKER,
    SUMS,
    DockerEnvironment,
    Step,
    base_fault,
    dockerfile,
    ignored,
)
from provisioner.core.image_layers import LARGE_BYTES, divide, title_of
from provisioner.errors import GpuenvError, UsageError
from provisioner.workflow.bake_base import no_base
from provisioner.workflow.bake_environments import (
    ROOT,
    entry_of,
    labels_of,
    make_environments,
    modified_time,
    notes_of,
    path_faults,
    variables_of,
)
from provisioner.workflow.place import store_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.core.image_layers import Part
    from provisioner.workflow.bake_environments import Baked
    from provisioner.workflow.world import Options, World

_ENTRY: Final = "gpuenv-entry"
_LARGE: Final = "wheels"
_MOST_STEPS: Final = 60
"""Far from the 127 layers that engines take, whatever the base has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DockerfileWishes:
    """Where a Dockerfile goes, and what it is to begin with.

    `base` is the name of an image in a registry, None for Python's own of the version that is
    needed; `python` an interpreter by its path in it.
    """

    output: Path
    base: str | None = None
    root: str = ROOT
    python: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DockerfileResult:
    """The folder that was made; `size` are the bytes of its wheels."""

    output: str
    base: str
    profiles: tuple[str, ...]
    targets: tuple[str, ...]
    wheels: tuple[str, ...]
    size: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields of `bake dockerfile --json`."""
        return {
            "output": self.output,
            "dockerfile": f"{self.output}/Dockerfile",
            "base": self.base,
            "profiles": list(self.profiles),
            "targets": list(self.targets),
            "wheels": list(self.wheels),
            "bytes": self.size,
            "notes": list(self.notes),
        }


def bake_dockerfile(world: World, options: Options, wishes: DockerfileWishes) -> DockerfileResult:
    """Write a Dockerfile and all that it needs but the base.

    Raises:
        UsageError: an option is none, or nothing says what is baked for.
        GpuenvError: see the error tree; the output is then as it was.
    """
    modified = modified_time(world)
    faults = path_faults(wishes.root, wishes.python)
    if wishes.base and (fault := base_fault(wishes.base)):
        faults.append(fault)
    if faults:
        message = "this Dockerfile cannot be made"
        raise UsageError(message, causes=tuple(faults))
    root = "/" + wishes.root.strip("/")
    output = world.folder / wishes.output
    refuse_unwritable_output(output)
    if not may_be_replaced(output, MARKER):
        message = f"`{output}` is there already, and has no Dockerfile of gpuenv's"
        raise GpuenvError(message, hint="choose another `--output`", code="output-exists")
    store = store_of(world, options)
    world.guard()
    with ExitStack() as stack:
        if store.root.exists() and not store.is_writable:
            store.check(writing=False)
        else:
            store.open()
        stack.enter_context(Leases(store.root).working())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpuenv-")))
        made = make_environments(
            world, options, root, wishes.python, no_base(), store, folder, modified
        )
        staged = stack.enter_context(staged_beside(output))
        wheels: dict[str, tuple[Part, Path]] = {}
        environments = [
            DockerEnvironment(
                path=item.environment.path,
                python=wishes.python or f"python{item.environment.short}",
                steps=_steps(item, wheels, _MOST_STEPS // len(made)),
            )
            for item in made
        ]
        entry = entry_of(made, root)
        base = wishes.base or f"python:{made[0].environment.short}-slim"
        text = dockerfile(
            base,
            environments,
            variables=variables_of(made),
            labels=labels_of(made),
            entry=(entry[0], _ENTRY) if entry else None,
        )
        texts = {"Dockerfile": text, **({_ENTRY: entry[1]} if entry else {})}
        for environment in environments:
            texts.update(
                {
                    f"{step.source}/{SUMS}": step.sums_text
                    for step in environment.steps
                    if step.is_folder
                }
            )
        write_library(staged / INSTALLER)
        tops = {name.partition("/")[0] for name in wheels}
        texts[".dockerignore"] = ignored([INSTALLER, *tops, *([_ENTRY] if entry else [])])
        write_context(staged, texts, {name: path for name, (_, path) in wheels.items()})
        (staged / LOCK).unlink()
        publish(staged, output)
    return DockerfileResult(
        output=str(wishes.output),
        base=base,
        profiles=tuple(item.profile for item in made),
        targets=tuple(dict.fromkeys(item.target for item in made)),
        wheels=tuple(sorted({part.file for part, _ in wheels.values()})),
        size=sum(part.size for part, _ in wheels.values()),
        notes=notes_of(made),
    )


def _steps(item: Baked, wheels: dict[str, tuple[Part, Path]], most: int) -> Sequence[Step]:
    """The steps of an environment; what each needs is added to the `wheels` of the context.

    Large wheels come first, then what changes more often.
    """
    steps = []
    groups = [(f"packages-{item.profile}", group) for group in divide(item.found.parts, most)]
    for folder, group in [*groups, (f"project-{item.profile}", item.found.local)]:
        if not group:
            continue
        alone = folder.startswith("packages") and group[0].size >= LARGE_BYTES and len(group) == 1
        inside = _LARGE if alone else folder
        names = {f"{inside}/{part.file}": part for part in group}
        wheels.update({name: (part, item.found.paths[part.digest]) for name, part in names.items()})
        steps.append(
            Step(
                title=title_of(group),
                source=next(iter(names)) if alone else folder,
                sums={name: part.digest.hex for name, part in names.items()},
            )
        )
    return steps
