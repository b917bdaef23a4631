"""`gpuenv bake image`: environments as the layers of a container image."""

from __future__ import annotations

import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters._hashing import processors
from provisioner.adapters.inventory import Inventory
from provisioner.adapters.layer_archive import (
    DEFAULT_LEVELS,
    LEVELS,
    SpoiledError,
    compressor_version,
    write_layer,
)
from provisioner.adapters.layer_cache import LayerCache
from provisioner.adapters.leases import Leases
from provisioner.adapters.oci_layout import look_at_output, new_image, tag_fault
from provisioner.adapters.wheel_tree import open_wheel, wheel_entries
from provisioner.core.image_layers import Part, divide, layer_key, title_of, wheels_in
from provisioner.core.image_tree import text, tree
from provisioner.core.oci import (
    ARCHITECTURES,
    MOST_LAYERS,
    as_oci,
    descriptor,
    image_config,
    image_manifest,
)
from provisioner.errors import UsageError
from provisioner.workflow.bake_base import BakeBase, no_base, open_bake_base
from provisioner.workflow.bake_environments import (
    ROOT,
    Baked,
    entry_of,
    labels_of,
    machine_of,
    make_environments,
    modified_time,
    notes_of,
    path_faults,
    variables_of,
)
from provisioner.workflow.place import store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import IO

    from provisioner.adapters.oci_layout import LayoutWriter
    from provisioner.adapters.python_tree import PythonTree
    from provisioner.adapters.store import Store
    from provisioner.adapters.wheel_tree import OpenWheel
    from provisioner.core.digest import Digest
    from provisioner.core.image_tree import Entry, Packed, RawMember
    from provisioner.core.oci import Compression, Layer
    from provisioner.workflow.world import Options, World

_OWN_LAYERS: Final = 3  # A Python, the small packages, and the rest.
_MOST_AT_ONCE: Final = 4
"""Each layer that is made takes up to 40 MB of memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BakeWishes:
    """What an image is to be like.

    `base` is an OCI layout and perhaps the tag in it; `root` where the environments lie in the
    image, `python` the interpreter by its path there. None leaves it to the base.
    """

    output: Path
    tag: str = "latest"
    base: tuple[Path, str | None] | None = None
    compression: Compression = "gzip"
    level: int | None = None
    root: str = ROOT
    python: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BakedLayer:
    """A layer of the image: `reused` where it was made before, `base` where it is the base's."""

    layer: Layer
    reused: bool
    base: bool = False

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {
            "created_by": self.layer.created_by,
            "digest": f"sha256:{self.layer.digest}",
            "diff_id": f"sha256:{self.layer.diff_id}",
            "bytes": self.layer.size,
            "media_type": self.layer.media_type,
            "reused": self.reused,
            "base": self.base,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class BakeResult:
    """The image that was made, and of what."""

    output: str
    tag: str
    digest: str
    config: str
    profiles: tuple[str, ...]
    targets: tuple[str, ...]
    python: str
    layers: tuple[BakedLayer, ...]
    variables: dict[str, str]
    entry: str | None
    is_tar: bool
    notes: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """What `skopeo copy` and others take."""
        return f"{'oci-archive' if self.is_tar else 'oci'}:{self.output}:{self.tag}"

    def to_json(self) -> dict[str, Any]:
        """The fields of `bake image --json`."""
        return {
            "image": self.reference,
            "output": self.output,
            "tag": self.tag,
            "digest": self.digest,
            "config": self.config,
            "profiles": list(self.profiles),
            "targets": list(self.targets),
            "python": self.python,
            "variables": self.variables,
            "entrypoint": self.entry,
            "layers": [layer.to_json() for layer in self.layers],
            "notes": list(self.notes),
        }


def bake_image(world: World, options: Options, wishes: BakeWishes) -> BakeResult:
    """Make an image with the environment of each target's profile.

    Nothing of this machine is in it, and equal inputs make equal images: the same lock, target,
    base and options.

    Raises:
        UsageError: an option is none, or nothing says what is baked for.
        GpuenvError: see the error tree; the output is then as it was.
    """
    modified = modified_time(world)
    wishes = _checked(wishes)
    output = look_at_output(world.folder / wishes.output, wishes.tag)
    store = store_of(world, options)
    world.guard()
    with ExitStack() as stack:
        if store.root.exists() and not store.is_writable:
            store.check(writing=False)
        else:
            store.open()
        stack.enter_context(Leases(store.root).working())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpuenv-")))
        cache = LayerCache(store.root, store.lower)
        machine = machine_of(world, options)
        base = (
            stack.enter_context(open_bake_base(world, cache, *wishes.base, machine=machine))
            if wishes.base
            else no_base()
        )
        base.refuse_obstacle(wishes.root)
        made = make_environments(
            world, options, wishes.root, wishes.python, base, store, folder, modified
        )
        image = stack.enter_context(new_image(output, modified=modified))
        oven = _Oven(world, store, cache, image, wishes, modified)
        layers = [
            *oven.pythons(made),
            *oven.layers(made, room=MOST_LAYERS - len(base.layers)),
        ]
        entry = entry_of(made, wishes.root)
        layers.append(BakedLayer(layer=oven.rest(made, entry), reused=False))
        base.put_into(image)
        config = image_config(
            base.config,
            [item.layer for item in layers],
            machine=made[0].found.job.target.host.platform.machine,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(modified)),
            variables=variables_of(made),
            labels={**labels_of(made), **_own_labels(wishes, base)},
            entry=entry[0] if entry else None,
        )
        below = [BakedLayer(layer=layer, reused=True, base=True) for layer in base.layers]
        manifest = image_manifest(
            config,
            (
                descriptor(as_oci(item.layer.media_type), item.layer.digest, item.layer.size)
                for item in (*below, *layers)
            ),
        )
        image.document(config)
        image.document(manifest)
        platform = made[0].found.job.target.host.platform.machine
        image.publish(
            manifest.descriptor(
                annotations={"org.opencontainers.image.ref.name": wishes.tag},
                platform={
                    "architecture": ARCHITECTURES.get(platform, platform),
                    "os": "linux",
                },
            )
        )
    return BakeResult(
        output=str(wishes.output),
        tag=wishes.tag,
        digest=f"sha256:{manifest.digest}",
        config=f"sha256:{config.digest}",
        profiles=tuple(item.profile for item in made),
        targets=tuple(dict.fromkeys(item.target for item in made)),
        python=made[0].environment.python,
        layers=(*below, *layers),
        variables=variables_of(made),
        entry=entry[0] if entry else None,
        is_tar=output.is_tar,
        notes=notes_of(made),
    )


def _checked(wishes: BakeWishes) -> BakeWishes:
    """The wishes, with a level.

    Raises:
        UsageError: one cannot be.
    """
    lowest, highest = LEVELS[wishes.compression]
    level = DEFAULT_LEVELS[wishes.compression] if wishes.level is None else wishes.level
    faults = []
    if not lowest <= level <= highest:
        faults.append(f"{wishes.compression} has the levels {lowest} to {highest}, not `{level}`")
    if fault := tag_fault(wishes.tag):
        faults.append(fault)
    faults += path_faults(wishes.root, wishes.python)
    if faults:
        message = "this image cannot be made"
        raise UsageError(message, causes=tuple(faults))
    return replace(wishes, level=level, root="/" + wishes.root.strip("/"))


def _own_labels(wishes: BakeWishes, base: BakeBase) -> dict[str, str]:
    """What decides on the digests beside what is in the layers."""
    found = {"gpuenv.compressor": f"{compressor_version(wishes.compression)} level {wishes.level}"}
    if base.digest:
        found["org.opencontainers.image.base.digest"] = f"sha256:{base.digest}"
    return found


class _StoppedError(Exception):
    """Another layer has failed, or the user has ended it all."""


class _Oven:
    """Makes the layers, each once."""

    def __init__(  # noqa: PLR0913, PLR0917 - from where, to where, and how
        self,
        world: World,
        store: Store,
        cache: LayerCache,
        image: LayoutWriter,
        wishes: BakeWishes,
        modified: int,
    ) -> None:
        self._world = world
        self._stopped = threading.Event()
        self._store = store
        self._keeps = store.is_writable
        self._cache = cache
        self._image = image
        self._wishes = wishes
        self._modified = modified

    def layers(self, made: Sequence[Baked], *, room: int) -> list[BakedLayer]:
        """The layers of all packages of indexes, out of the store where they are there."""
        each = room // len(made) - _OWN_LAYERS
        jobs = [(item, parts) for item in made for parts in divide(item.found.parts, each)]
        with ThreadPoolExecutor(min(processors(), _MOST_AT_ONCE)) as pool:
            # The largest first, so that no processor is left with it alone.
            order = sorted(jobs, key=lambda job: -sum(part.size for part in job[1]))
            running = {job: pool.submit(self._layer, *job) for job in order}
            try:
                return [running[job].result() for job in jobs]
            except BaseException:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)
                raise

    def pythons(self, made: Sequence[Baked]) -> list[BakedLayer]:
        """A layer for each Python that the base has not."""
        trees = {item.brought.place: item.brought for item in made if item.brought}
        return [self._python(tree) for tree in trees.values()]

    def _python(self, brought: PythonTree) -> BakedLayer:
        def write(file: IO[bytes]) -> Layer:
            return self._write(file, tree(brought.entries()), {}, brought.name)

        return self._made(brought.facts(), brought.name, write)

    def rest(self, made: Sequence[Baked], entry: tuple[str, str] | None) -> Layer:
        """The layer of the environments themselves, the projects, and the entry point."""
        entries: list[Entry] = []
        paths: dict[object, tuple[Path, Part]] = {}
        for item in made:
            entries += item.environment.own_files()
            for part in item.found.local:
                path = item.found.paths[part.digest]
                paths[part.digest] = path, part
                with open_wheel(path, part.file) as wheel:
                    entries += wheel_entries(wheel, part.digest, item.environment)
        if entry:
            entries.append(text(*entry, program=True))
        local = [part.title for item in made for part in item.found.local]
        profiles = ", ".join(item.profile for item in made)
        title = ", ".join(dict.fromkeys([f"environment {profiles}", *local]))

        def write(file: IO[bytes]) -> Layer:
            return self._write(file, tree(entries), paths, title)

        return self._image.make(write)

    def _layer(self, item: Baked, parts: tuple[Part, ...]) -> BakedLayer:
        paths: dict[object, tuple[Path, Part]] = {
            part.digest: (item.found.paths[part.digest], part) for part in parts
        }

        def write(file: IO[bytes]) -> Layer:
            entries: list[Entry] = []
            for part in parts:
                with open_wheel(paths[part.digest][0], part.file) as wheel:
                    entries += wheel_entries(wheel, part.digest, item.environment)
            try:
                return self._write(file, tree(entries), paths, title_of(parts), self._unpacked)
            except SpoiledError:
                # Of an environment that somebody has changed; the wheel has it right.
                file.seek(0)
                file.truncate()
                return self._write(file, tree(entries), paths, title_of(parts))

        return self._made(wheels_in(parts, item.environment), title_of(parts), write)

    def _made(
        self, contents: Mapping[str, object], title: str, write: Callable[[IO[bytes]], Layer]
    ) -> BakedLayer:
        """A layer of some contents, out of the store where it was made before."""
        key = layer_key(
            contents,
            compressor=compressor_version(self._wishes.compression),
            level=self._wishes.level or 0,
            modified=self._modified,
        )
        if found := self._cache.find(key, f"gpuenv bake image: {title}"):
            layer, path = found
            self._image.add(layer.digest, path)
            return BakedLayer(layer=layer, reused=True)
        self._world.progress.note(f"making the layer of {title}")
        if not self._keeps:
            return BakedLayer(layer=self._image.make(write), reused=False)
        layer, path = self._cache.keep(key, write)
        self._image.add(layer.digest, path)
        return BakedLayer(layer=layer, reused=False)

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise _StoppedError

    def _unpacked(self, packed: Packed) -> Path | None:
        """Where some environment of the store may have a file of a wheel."""
        site = self._sites.get(packed.wheel)
        return site / packed.member if site and ".data/" not in packed.member else None

    @cached_property
    def _sites(self) -> dict[Digest, Path]:
        """Where packages lie in environments of the store, by the wheels that these have."""
        found: dict[Digest, Path] = {}
        for item in Inventory(self._store.root).environments():
            site = next(item.path.glob("lib/python3*/site-packages"), None)
            if site is not None and item.mark is not None:
                found.update(dict.fromkeys(item.mark.blobs or (), site))
        return found

    def _write(
        self,
        file: IO[bytes],
        entries: Iterable[Entry],
        paths: dict[object, tuple[Path, Part]],
        title: str,
        unpacked: Callable[[Packed], Path | None] = lambda _: None,
    ) -> Layer:
        with ExitStack() as stack:
            wheels: dict[object, OpenWheel] = {}

            def member(packed: Packed) -> RawMember:
                if packed.wheel not in wheels:
                    path, part = paths[packed.wheel]
                    wheels[packed.wheel] = stack.enter_context(open_wheel(path, part.file))
                return wheels[packed.wheel].member(packed.member)

            return write_layer(
                file,
                entries,
                member,
                unpacked=unpacked,
                go_on=self._go_on,
                compression=self._wishes.compression,
                level=self._wishes.level or 0,
                modified=self._modified,
                name=f"gpuenv bake image: {title}",
            )
