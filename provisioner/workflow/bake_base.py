"""The base of an image: what it says, and whether it fits what is put on it."""

from __future__ import annotations

import posixpath
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from packaging.utils import parse_wheel_filename

from provisioner.adapters._files import DAMAGED, stamp_of
from provisioner.adapters.base_layers import open_base
from provisioner.core.base_image import (
    LayerFacts,
    base_facts,
    base_invalid,
    python_version,
)
from provisioner.core.oci import Layer
from provisioner.core.tags import wheel_tags
from provisioner.errors import GpuenvError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from provisioner.adapters.base_layers import Base
    from provisioner.adapters.layer_cache import LayerCache
    from provisioner.adapters.oci_layout import LayoutWriter
    from provisioner.core.base_image import BaseFacts
    from provisioner.core.digest import Digest
    from provisioner.core.host import Platform, Target
    from provisioner.core.image_layers import Part
    from provisioner.core.interpreter import Interpreter
    from provisioner.workflow.world import World

_OFFICIAL: str = "/usr/local/bin"
"""Where the official images of Python have it (docker-library/python)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BakeBase:
    """A base with what its layers tell, or none."""

    base: Base | None = None
    facts: BaseFacts | None = None
    layers: tuple[Layer, ...] = ()

    @property
    def config(self) -> Mapping[str, Any] | None:
        """What it says of itself."""
        return self.base.image.config if self.base else None

    @property
    def digest(self) -> Digest | None:
        """That of its manifest."""
        return self.base.image.digest if self.base else None

    def completed(self, target: Target) -> Target:
        """The target with what only the base tells of it: the C library, and the Python.

        A Python that the user names, or a target, is stronger.
        """
        if self.facts is None:
            return target
        platform = target.host.platform
        if platform.system != "linux" or platform.libc is None:
            machine = self.base.image.machine if self.base else platform.machine
            platform = replace(
                platform, system="linux", kind="linux", libc=self.facts.libc, machine=machine
            )
            target = replace(target, host=replace(target.host, platform=platform))
        if target.python is None and self.facts.pythons:
            return replace(target, python=python_version(self.facts.pythons[0]))
        return target

    def has_python(self, interpreter: Interpreter) -> bool:
        """Whether it has the Python that is needed; without a base nobody knows."""
        return self.facts is None or bool(self._fitting(interpreter))

    def _fitting(self, interpreter: Interpreter) -> list[str]:
        pythons = self.facts.pythons if self.facts else ()
        return [path for path in pythons if python_version(path) == _wanted(interpreter)]

    def python(self, interpreter: Interpreter, named: str | None) -> str:
        """The Python in the image that an environment is for.

        Raises:
            GpuenvError: the base has none of its version.
        """
        wanted = _wanted(interpreter)
        if named is not None:
            return named
        if self.facts is None:
            return f"{_OFFICIAL}/python{wanted}"
        if fits := self._fitting(interpreter):
            return fits[0]
        message = f"the base has no Python `{wanted}`, which the target needs"
        there = ", ".join(f"`{path}`" for path in self.facts.pythons) or "none"
        known = next((python_version(path) for path in self.facts.pythons), None)
        raise GpuenvError(
            message,
            causes=(f"the Pythons of the base: {there}",),
            hint=f"`--python {known}` bakes for that one"
            if known
            else "choose a base with Python, name one with `--interpreter`, or let `uv python "
            f"install {wanted}` get one that is put in",
            code="base-python",
        )

    def refuse_machine(self, platform: Platform) -> None:
        """Refuse a base for other machines.

        Raises:
            GpuenvError: it is.
        """
        if self.base is None or platform.system != "linux":
            return
        if self.base.image.machine != platform.machine:
            message = "the base is for another kind of machine than the target"
            raise GpuenvError(
                message,
                causes=(f"it is for `{self.base.image.machine}`, not for `{platform.machine}`",),
                hint="a base of the target's architecture, or another `--target`",
                code="base-architecture",
            )

    def refuse_obstacle(self, root: str) -> None:
        """Refuse to put environments where the base has something that is no folder.

        Raises:
            GpuenvError: it has.
        """
        obstacle = self.facts.obstacle(root) if self.facts else None
        if obstacle:
            message = f"environments cannot lie in `{root}` of this base"
            raise GpuenvError(
                message,
                causes=(obstacle,),
                hint="choose another folder with `--root`",
                code="base-obstacle",
            )

    def refuse_wheels(
        self, interpreter: Interpreter, platform: Platform, parts: Iterable[Part]
    ) -> None:
        """Refuse wheels that the base's C library does not run.

        Raises:
            GpuenvError: there is one.
        """
        libc = self.facts.libc if self.facts else None
        if libc is None:
            return
        tags = frozenset(wheel_tags(interpreter, replace(platform, libc=libc)))
        faults = [part.file for part in parts if not parse_wheel_filename(part.file)[3] & tags]
        if faults:
            message = f"the base has {libc[0]} `{libc[1]}`, which does not run all packages"
            of = f"{platform.libc[0]} `{platform.libc[1]}`" if platform.libc else "another one"
            raise GpuenvError(
                message,
                causes=(
                    *(f"`{name}` does not run on it" for name in faults),
                    f"they were chosen for a target with {of}",
                ),
                hint=f"`{libc[0]}={libc[1]}` in `--target` chooses files for it; or take a newer "
                "base",
                code="base-libc",
            )

    def put_into(self, image: LayoutWriter) -> None:
        """Put its layers into an image; each was verified.

        Raises:
            IntegrityError: one has changed meanwhile.
        """
        if self.base is None:
            return
        for index, layer in enumerate(self.layers):
            path = self.base.layer_path(index)
            if path is not None:
                image.add(layer.digest, path)
            else:
                image.fill(layer.digest, partial(self.base.copy_layer, index))


def _wanted(interpreter: Interpreter) -> str:
    return ".".join(map(str, interpreter.minor)) + ("t" if interpreter.free_threaded else "")


def no_base() -> BakeBase:
    """No base: the image has environments alone."""
    return BakeBase()


@contextmanager
def open_bake_base(
    world: World, cache: LayerCache, location: Path, tag: str | None, *, machine: str | None
) -> Iterator[BakeBase]:
    """Open a base and learn what its layers tell; that is remembered in the store.

    Raises:
        GpuenvError: it is no image, or none for the machine.
        IntegrityError: something in it has not the hash, or the size, that it should have.
    """
    if not (world.folder / location).exists():
        given = f"{location}:{tag}" if tag else str(location)
        hint = f"`skopeo copy docker://{given} oci:DIR:TAG` makes one of an image in a registry"
        raise base_invalid(given, "there is no such file or folder", hint=hint)
    with open_base(world.folder / location, tag, machine) as base:
        facts = [_layer_facts(world, cache, base, index) for index in range(len(base.image.layers))]
        layers = tuple(
            Layer(digest=item.digest, diff_id=diff_id, size=item.size, media_type=item.media_type)
            for item, diff_id in zip(base.image.layers, base.image.diff_ids, strict=True)
        )
        yield BakeBase(base=base, facts=base_facts(facts, base.image.config), layers=layers)


def _layer_facts(world: World, cache: LayerCache, base: Base, index: int) -> LayerFacts:
    """What a layer tells, which is read again where its file is not as it was.

    One in an archive is verified while it is copied out of it.
    """
    item = base.image.layers[index]
    path = base.layer_path(index)
    stamp = stamp_of(path) if path else None
    key = f"{item.digest}"
    with suppress(*DAMAGED):
        known = cache.noted(f"base-{key}")
        if known and (path is None or known["stamp"] == list(stamp or ())):
            return LayerFacts.from_json(known["facts"])
    world.progress.note(f"looking into a layer of the base ({posixpath.basename(key)[:12]})")
    facts = base.layer_facts(index)
    with suppress(OSError):
        cache.note(f"base-{key}", {"stamp": list(stamp or ()), "facts": facts.to_json()})
    return facts
