"""The environments that are baked: for which targets, of what, and where in the image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.adapters.python_tree import python_tree
from provisioner.adapters.uv import Uv
from provisioner.core.image_entry import Offer, entry_script
from provisioner.core.image_environment import ImageEnvironment
from provisioner.core.image_needs import gpu_variables, image_needs
from provisioner.core.target import short_text
from provisioner.errors import UsageError
from provisioner.workflow.bake_parts import Parts, find_parts
from provisioner.workflow.detect import counts, detect, named_target
from provisioner.workflow.job import plan_job
from provisioner.workflow.own_server import past_own_server
from provisioner.workflow.place import place_of, state_of
from provisioner.workflow.workshop import open_workshop
from provisioner.workflow.world import Wishes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.adapters.python_tree import PythonTree
    from provisioner.adapters.store import Store
    from provisioner.core.host import Target
    from provisioner.core.image_needs import ImageNeeds
    from provisioner.workflow.bake_base import BakeBase
    from provisioner.workflow.job import Job
    from provisioner.workflow.world import Options, World

ROOT: Final = "/opt/gpuenv"
"""Where environments lie in an image."""

FIRST_TIME: Final = 315_532_800
"""1980-01-01, the first time that a zip archive can tell: that of files without
`SOURCE_DATE_EPOCH`."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Baked:
    """One environment of the image."""

    found: Parts
    environment: ImageEnvironment
    brought: PythonTree | None = None

    @property
    def profile(self) -> str:
        """The name of its profile."""
        return self.found.locked.profile.name

    @property
    def needs(self) -> ImageNeeds:
        """What its host has to have."""
        return image_needs(self.found.locked.profile, self.found.job.facts)

    @property
    def target(self) -> str:
        """What it is for, in the short form."""
        return short_text(self.found.job.target, self.found.job.interpreter.minor)


def modified_time(world: World) -> int:
    """The time of everything in an image: `SOURCE_DATE_EPOCH`, else 1980-01-01.

    Raises:
        UsageError: it is no number of seconds that a file can have.
    """
    given = world.variables.get("SOURCE_DATE_EPOCH") or str(FIRST_TIME)
    if given.isascii() and given.isdigit() and int(given) < 1 << 33:
        return int(given)
    message = "`SOURCE_DATE_EPOCH` is no number of seconds"
    raise UsageError(message, causes=(f"it is `{given}`",))


def path_faults(root: str, python: str | None) -> list[str]:
    """What is wrong with the options that name paths in an image."""
    faults = []
    for name, path in (("--root", root), ("--interpreter", python or "/")):
        parts = path.split("/")
        odd = any(not character.isprintable() or character in ':"$\\' for character in path)
        if not path.startswith("/") or {".", ".."} & set(parts) or odd:
            faults.append(f"`{name} {path}` is no absolute path in an image")
    if root.strip("/") == "":
        faults.append("`--root` has to be a folder below `/`")
    return faults


def machine_of(world: World, options: Options) -> str | None:
    """The machine of the first target, by which a base for several is read."""
    named = options.targets[:1] or ((options.target,) if options.target else ())
    one = replace(options, targets=(), target=named[0] if named else None)
    remembered = state_of(world, options).read().target
    return detect(world, one, remembered=remembered).host.platform.machine


def make_environments(  # noqa: PLR0913, PLR0917 - all that they are made from
    world: World,
    options: Options,
    root: str,
    python: str | None,
    base: BakeBase,
    store: Store,
    folder: Path,
    modified: int,
) -> tuple[Baked, ...]:
    """The environment of each target, each profile once.

    Raises:
        GpuenvError: two targets need different things under one name.
    """
    each = [
        replace(options, target=name, targets=()) for name in options.targets or (options.target,)
    ]
    targets = [_target(world, one, base) for one in each]
    machines = {target.host.platform.machine for target in targets}
    if len(machines) > 1:
        message = "an image is for one kind of machine"
        causes = tuple(f"a target is `{machine}`" for machine in sorted(machines))
        raise UsageError(message, causes=causes, hint="bake an image for each")
    found: dict[str, Parts] = {}
    for number, (one, target) in enumerate(zip(each, targets, strict=True)):
        base.refuse_machine(target.host.platform)
        own = folder / str(number)
        own.mkdir()
        # One profile: an image has what it runs, and nothing to toggle to.
        wishes = Wishes(
            only=True,
            fetch_only=True,
            remember=False,
            proof=False,
            also=tuple(other for other in targets if other is not target),
        )
        parts = _parts(world, one, wishes, target, base, store, own, modified)
        known = found.setdefault(parts.locked.profile.name, parts)
        _refuse_difference(known, parts)
    several = len(found) > 1
    made = []
    for profile, parts in found.items():
        interpreter = parts.job.interpreter
        brought = None if python or base.has_python(interpreter) else _uvs_python(parts.job)
        made.append(
            Baked(
                found=parts,
                brought=brought,
                environment=ImageEnvironment(
                    path=f"{root}/{profile}" if several else root,
                    python=base.python(interpreter, brought.program if brought else python),
                    version=interpreter.minor,
                    free_threaded=interpreter.free_threaded,
                ),
            )
        )
        base.refuse_wheels(
            interpreter, parts.job.target.host.platform, [*parts.parts, *parts.local]
        )
    # As a selection has them: the newest CUDA first, and the CPU last.
    return tuple(sorted(made, key=_preference, reverse=True))


def _uvs_python(job: Job) -> PythonTree | None:
    """The Python that uv has installed for the target, which runs wherever it lies."""
    path = job.interpreter.path
    if path is None or job.not_here:
        return None
    folder = Uv(job.program, job.place.folder, job.world.variables).python_folder()
    return python_tree(Path(path), folder, ".".join(map(str, job.interpreter.minor)))


def _preference(item: Baked) -> tuple[bool, tuple[int, ...], str]:
    cuda = item.found.locked.profile.cuda
    parts = tuple(map(int, str(cuda).split("."))) if cuda else ()
    return cuda is not None, parts, item.profile


def _parts(  # noqa: PLR0913, PLR0917 - as above
    world: World,
    options: Options,
    wishes: Wishes,
    target: Target,
    base: BakeBase,
    store: Store,
    folder: Path,
    modified: int,
) -> Parts:
    place = place_of(world, options)
    world = past_own_server(world, store, place, offline=options.offline)
    job = plan_job(world, options, place, target, wishes)
    with open_workshop(
        world,
        store,
        place,
        python=job.interpreter.path,
        indexes=job.indexes,
        offline=options.offline,
    ) as workshop:
        libc = base.facts.libc if base.facts else None
        return find_parts(job, workshop, folder, modified, libc)


def notes_of(made: Sequence[Baked]) -> tuple[str, ...]:
    """What one could miss in an image."""
    place = made[0].found.job.place
    if place.manifest is None or any(item.found.local for item in made):
        return ()
    name = place.manifest.name or place.folder.name
    return (f"`{name}` is no package that can be built: its own files are not in it",)


def _target(world: World, options: Options, base: BakeBase) -> Target:
    """What is baked for.

    Raises:
        UsageError: nothing says what: there is no GPU here, and no option.
    """
    remembered = state_of(world, options).read().target
    target = detect(world, options, remembered=remembered)
    host = target.host
    is_named = named_target(world, options) or counts(world, options, remembered)
    if not (is_named or options.profile or host.driver or host.gpus or host.broken):
        message = "there is no GPU here, and nothing says what to bake for"
        raise UsageError(
            message,
            causes=("nvcc, `CUDA_HOME` and the base tell nothing of the driver it will run on",),
            hint="`--target driver=580.65.06,cuda=13.0,gpus=9.0`, a file of `gpuenv detect "
            "--save`, or `--profile cpu`",
            code="no-target",
        )
    return base.completed(target)


def _refuse_difference(one: Parts, other: Parts) -> None:
    """Refuse two targets whose environments of one profile are not the same.

    Raises:
        UsageError: they are not.
    """
    if one is other:
        return
    pythons = [".".join(map(str, parts.job.interpreter.minor)) for parts in (one, other)]
    if pythons[0] != pythons[1]:
        message = f"the targets need different Pythons for `{one.locked.profile.name}`"
        cause = f"one needs `{pythons[0]}`, another one `{pythons[1]}`"
        raise UsageError(message, causes=(cause,), hint="bake an image for each")
    first = {part.file: part.digest for part in one.parts}
    second = {part.file: part.digest for part in other.parts}
    if first != second:
        message = f"the targets need different files for `{one.locked.profile.name}`"
        differ = sorted({name for name in (*first, *second) if first.get(name) != second.get(name)})
        raise UsageError(
            message,
            causes=tuple(f"`{name}` is for one of them alone" for name in differ[:10]),
            hint="bake an image for each",
        )


def variables_of(made: Sequence[Baked]) -> dict[str, str]:
    """What a container of the image is to have in its environment."""
    needs = [item.needs for item in made]
    own = {}
    if len(made) == 1:
        path = made[0].environment.path
        own = {"PATH": f"{path}/bin", "VIRTUAL_ENV": path}
    return {**own, **gpu_variables(needs)}


def labels_of(made: Sequence[Baked]) -> dict[str, str]:
    """What tells of an image where it is from; nothing of this machine, nor of the time."""
    from provisioner.adapters.environment import file_hash

    def each(value: Callable[[Baked], str]) -> str:
        return " ".join(dict.fromkeys(value(item) for item in made))

    return {
        "gpuenv.profile": each(lambda item: item.profile),
        "gpuenv.lock": each(lambda item: f"sha256:{file_hash(item.found.locked.path)}"),
        "gpuenv.target": each(lambda item: item.target),
        "gpuenv.python": each(lambda item: item.environment.short),
    }


def entry_of(made: Sequence[Baked], root: str) -> tuple[str, str] | None:
    """Path and text of the entry point, where there is something to pick."""
    if len(made) == 1:
        return None
    offers = [
        Offer(profile=item.profile, path=item.environment.path, needs=item.needs) for item in made
    ]
    return f"{root}/bin/gpuenv-entry", entry_script(offers)
