"""The image that environments are put on: its documents, and what its layers tell.

The formats are those of the OCI image specification 1.1 (index, manifest, configuration,
layers with whiteouts) and of Docker's image manifest V2, schema 2, which is the same in other
words.
"""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from provisioner.core.digest import Digest
from provisioner.core.oci import ARCHITECTURES, TAG
from provisioner.core.version import DottedVersion
from provisioner.errors import GpuenvError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Libc = tuple[Literal["glibc", "musl"], str]

_MACHINES: Final = {name: machine for machine, name in ARCHITECTURES.items()}
_INDEXES: Final = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
_LAYER: Final = re.compile(
    r"application/vnd\.(?:oci\.image\.layer\.v1\.tar|docker\.image\.rootfs\.diff\.tar)"
    r"(?:[+.](gzip|zstd))?"
)
_PYTHON: Final = re.compile(r"(?:.*/)?bin/python(3\.\d+t?)")
_MOST_LINKS: Final = 40
"""As Linux follows in one path (path_resolution(7))."""
_DEFAULT_PATHS: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/bin")
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobRef:
    """A descriptor: what leads to a blob, and its size in bytes."""

    media_type: str
    digest: Digest
    size: int

    @property
    def is_index(self) -> bool:
        """Whether it leads to a further index."""
        return self.media_type in _INDEXES

    @property
    def compression(self) -> str:
        """How a layer is compressed; empty where it is not."""
        found = _LAYER.fullmatch(self.media_type)
        return (found[1] or "") if found else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseImage:
    """An image by its documents; `digest` is that of its manifest."""

    digest: Digest
    layers: tuple[BlobRef, ...]
    diff_ids: tuple[Digest, ...]
    config: Mapping[str, Any]

    @property
    def machine(self) -> str:
        """What it runs on, as the kernel names it."""
        name = str(self.config.get("architecture"))
        return _MACHINES.get(name, name)


def base_invalid(origin: str, *causes: str, hint: str | None = None) -> GpuenvError:
    """That something is no base."""
    message = f"`{origin}` is no image that can be a base"
    return GpuenvError(message, causes=causes, hint=hint, code="base-invalid")


def base_damaged(origin: str, what: str, expected: object, got: object) -> IntegrityError:
    """That something of a base is not what its documents tell."""
    message = f"{what} of the base `{origin}` is damaged"
    return IntegrityError(
        message,
        causes=(f"expected {expected}, got {got}",),
        hint="copy the base anew, as with `skopeo copy`",
        code="base-damaged",
    )


def choose_image(data: bytes, origin: str, tag: str | None, machine: str | None) -> BlobRef:
    """The image of an index that is meant, or a further index.

    Raises:
        GpuenvError: it is no index, or does not tell which one.
    """
    found = _object(data, origin, "the index")
    listed = found.get("manifests")
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise base_invalid(origin, "its index lists no images")
    tags = [name for item in listed if (name := _tag_of(item)) is not None]
    if tag is not None:
        fits = [item for item in listed if _tag_of(item) == tag]
        if not fits:
            there = ", ".join(f"`{name}`" for name in tags) or "none"
            raise base_invalid(origin, f"it has no tag `{tag}`", f"the tags in it: {there}")
        listed = fits
    elif len(tags) > 1:
        names = ", ".join(f"`{name}`" for name in tags)
        hint = f"`--base {origin}:{tags[0]}`"
        raise base_invalid(origin, f"it has several images: {names}", hint=hint)
    listed = [item for item in listed if not _is_attestation(item)]
    platforms = {_machine_of(item) for item in listed}
    if machine is not None and len(listed) > 1 and platforms != {None}:
        fits = [item for item in listed if _machine_of(item) in {machine, None}]
        if not fits:
            raise _other_machine(origin, machine, platforms)
        listed = fits
    if not listed:
        raise base_invalid(origin, "its index is empty")
    return _ref(listed[0], origin)


def _other_machine(origin: str, machine: str, there: Iterable[str | None]) -> GpuenvError:
    message = f"the base `{origin}` is not for `{machine}`"
    names = ", ".join(f"`{name}`" for name in sorted(filter(None, there)))
    return GpuenvError(message, causes=(f"it is for {names}",), code="base-architecture")


def _tag_of(item: Mapping[str, Any]) -> str | None:
    annotations = item.get("annotations")
    tag = annotations.get(TAG) if isinstance(annotations, dict) else None
    return tag if isinstance(tag, str) else None


def _machine_of(item: Mapping[str, Any]) -> str | None:
    platform = item.get("platform")
    name = platform.get("architecture") if isinstance(platform, dict) else None
    return _MACHINES.get(name, name) if isinstance(name, str) else None


def _is_attestation(item: Mapping[str, Any]) -> bool:
    """Whether it is what BuildKit puts beside images, under a platform that is none."""
    return _machine_of(item) == "unknown"


def read_manifest(data: bytes, origin: str) -> tuple[BlobRef, tuple[BlobRef, ...]]:
    """The configuration and the layers of an image.

    Raises:
        GpuenvError: it is no manifest, or has layers that cannot be read.
    """
    found = _object(data, origin, "its manifest")
    if found.get("schemaVersion") == 1:
        raise base_invalid(
            origin, "it is of Docker's schema 1", hint="`skopeo copy --format oci` makes a newer"
        )
    layers = found.get("layers")
    if not isinstance(layers, list):
        raise base_invalid(origin, "its manifest lists no layers")
    refs = tuple(_ref(item, origin) for item in layers)
    faults = []
    for item, ref in zip(layers, refs, strict=True):
        if not _LAYER.fullmatch(ref.media_type):
            faults.append(f"a layer is of the kind `{ref.media_type}`, which is not supported")
        elif item.get("urls"):
            faults.append(f"the layer `{ref.digest}` is elsewhere, and not in the image")
    if faults:
        raise base_invalid(origin, *dict.fromkeys(faults))
    return _ref(found.get("config"), origin), refs


def read_config(data: bytes, origin: str, layers: int) -> tuple[dict[str, Any], tuple[Digest, ...]]:
    """The configuration of an image with so many layers, and the hashes of what is in each.

    Raises:
        GpuenvError: it is none, or does not fit the layers.
    """
    found = _object(data, origin, "its configuration")
    rootfs = found.get("rootfs")
    listed = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(listed, list) or len(listed) != layers:
        count = len(listed) if isinstance(listed, list) else "no"
        raise base_invalid(origin, f"it has {layers} layers, and its configuration tells {count}")
    system = found.get("os")
    if system != "linux" or not isinstance(found.get("architecture"), str):
        raise base_invalid(origin, f"it is for `{system}`/`{found.get('architecture')}`, not Linux")
    config = found.get("config")
    if config is not None and not _is_config(config):
        raise base_invalid(origin, "its configuration is malformed")
    history = found.get("history")
    if history is not None and not isinstance(history, list):
        raise base_invalid(origin, "its history is malformed")
    return found, tuple(_digest(item, origin) for item in listed)


def _is_config(config: object) -> bool:
    """Whether what is read of the running part is of the types that it has to be."""
    if not isinstance(config, dict):
        return False
    lists = [config.get(name) or [] for name in ("Env", "Entrypoint", "Cmd")]
    return isinstance(config.get("Labels") or {}, dict) and all(
        isinstance(items, list) and all(isinstance(item, str) for item in items) for items in lists
    )


def _object(data: bytes, origin: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise base_invalid(origin, f"{what} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise base_invalid(origin, f"{what} is no JSON object")
    return found


def _ref(item: object, origin: str) -> BlobRef:
    if not isinstance(item, dict):
        raise base_invalid(origin, "a descriptor in it is malformed")
    size, kind = item.get("size"), item.get("mediaType")
    if type(size) is not int or size < 0 or not isinstance(kind, str):
        raise base_invalid(origin, "a descriptor in it is malformed")
    return BlobRef(media_type=kind, digest=_digest(item.get("digest"), origin), size=size)


def _digest(text: object, origin: str) -> Digest:
    algorithm, _, value = str(text).partition(":")
    if algorithm != "sha256":
        raise base_invalid(origin, f"the digest `{str(text)[:80]}` is no sha256")
    try:
        return Digest.parse(value)
    except ValueError as error:
        raise base_invalid(origin, str(error)[:120]) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerFacts:
    """What a layer tells, as far as it matters; paths are normal, without a leading slash.

    `pythons` are interpreters, `links` symbolic links and their targets, `files` regular files
    (the names of `pythons`' folders apart, only whether something is no folder matters),
    `others` devices and such, `whiteouts` what it removes, and `libc` what its C library is.
    """

    pythons: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    whiteouts: tuple[str, ...] = ()
    opaque: tuple[str, ...] = ()
    libc: Mapping[str, Libc] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The written form."""
        return {
            **{
                name: list(getattr(self, name))
                for name in ("pythons", "files", "others", "whiteouts", "opaque")
            },
            "links": dict(self.links),
            "libc": {path: list(value) for path, value in self.libc.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LayerFacts:
        """Read the written form.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: it is damaged.
        """

        def texts(name: str) -> tuple[str, ...]:
            return tuple(str(item) for item in data[name])

        libc: dict[str, Libc] = {}
        for path, (family, version) in data["libc"].items():
            libc[path] = ("musl" if family == "musl" else "glibc"), str(version)
        return cls(
            pythons=texts("pythons"),
            files=texts("files"),
            others=texts("others"),
            whiteouts=texts("whiteouts"),
            opaque=texts("opaque"),
            links={str(path): str(target) for path, target in data["links"].items()},
            libc=libc,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseFacts:
    """What the layers of a base tell together.

    `pythons` are absolute paths, best first; a link counts where it leads to one.
    """

    pythons: tuple[str, ...]
    libc: Libc | None
    kinds: Mapping[str, str] = field(default_factory=dict)
    """What is no folder, by path, in words."""

    def obstacle(self, path: str) -> str | None:
        """What stands in the way of a folder at an absolute path, in words."""
        found = ""
        for name in path.strip("/").split("/"):
            found = f"{found}/{name}".strip("/")
            if kind := self.kinds.get(found):
                return f"`/{found}` is {kind} there"
        return None


def is_python(path: str) -> bool:
    """Whether a path is called as an interpreter of some version is."""
    return _PYTHON.fullmatch(path) is not None


def python_version(path: str) -> str:
    """The version that the name of an interpreter tells, such as `3.12` or `3.13t`."""
    found = _PYTHON.fullmatch(path)
    return found[1] if found else ""


def normal_path(name: str) -> str | None:
    """A name in an archive without a slash at its ends; None where it leads out, or is the root."""
    path = posixpath.normpath(name.lstrip("/"))
    return None if path in {".", ".."} or path.startswith("../") else path


def whiteout_of(path: str) -> tuple[str, bool] | None:
    """What a whiteout removes, and whether that is all in the folder; None for no whiteout."""
    folder, name = posixpath.split(path)
    if name == _OPAQUE:
        return folder, True
    if name.startswith(_WHITEOUT):
        return posixpath.join(folder, name.removeprefix(_WHITEOUT)), False
    return None


def base_facts(layers: Iterable[LayerFacts], config: Mapping[str, Any]) -> BaseFacts:
    """What layers tell together, the lowest first."""
    things: dict[str, tuple[str, Any]] = {}
    for layer in layers:
        gone = [(path, False) for path in layer.whiteouts] + [(p, True) for p in layer.opaque]
        if gone:
            things = {p: value for p, value in things.items() if not _is_gone(p, gone)}
        things |= dict.fromkeys((*layer.files, *layer.pythons), ("file", None))
        things |= {path: ("link", target) for path, target in layer.links.items()}
        things |= dict.fromkeys(layer.others, ("other", None))
        things |= {path: ("libc", value) for path, value in layer.libc.items()}
    links = {path: target for path, (kind, target) in things.items() if kind == "link"}
    pythons = _pythons(things, links, config)
    libcs = [value for kind, value in things.values() if kind == "libc"]
    words = {"file": "a file", "libc": "a file", "other": "a device or the like"}
    return BaseFacts(
        pythons=pythons,
        libc=max(libcs, key=_libc_rank, default=None),
        kinds={
            path: words.get(kind) or f"a symbolic link to `{target}`"
            for path, (kind, target) in things.items()
        },
    )


def _libc_rank(libc: Libc) -> tuple[bool, DottedVersion]:
    return libc[0] == "glibc", DottedVersion.parse(libc[1])


def _is_gone(path: str, gone: Iterable[tuple[str, bool]]) -> bool:
    return any(
        path.startswith(f"{what}/") or (path == what and not inside) or (inside and not what)
        for what, inside in gone
    )


def _pythons(
    things: Mapping[str, tuple[str, Any]], links: Mapping[str, str], config: Mapping[str, Any]
) -> tuple[str, ...]:
    """The interpreters, each by one path; those on the image's PATH come first."""
    running = config.get("config") or {}
    variables = dict(item.partition("=")[::2] for item in running.get("Env") or ())
    order = [part for part in variables.get("PATH", "").split(":") if part] or [*_DEFAULT_PATHS]
    # Folders may be links themselves, such as `/bin` to `usr/bin`.
    found: dict[str, str] = {}
    names = {posixpath.basename(path) for path in things if is_python(path)}
    for folder in order:
        for name in sorted(names, key=_newest_first):
            _add_python(found, f"{folder}/{name}", things, links)
    for path in sorted(path for path in things if is_python(path)):
        _add_python(found, f"/{path}", things, links)
    return tuple(found.values())


def _newest_first(name: str) -> tuple[int, bool]:
    version = python_version(f"bin/{name}")
    return -int(version.removesuffix("t").partition(".")[2]), version.endswith("t")


def _add_python(
    found: dict[str, str],
    path: str,
    things: Mapping[str, tuple[str, Any]],
    links: Mapping[str, str],
) -> None:
    real = resolved(path, links)
    if real is not None and things.get(real, ("", None))[0] == "file" and is_python(path[1:]):
        found.setdefault(real, path)


def resolved(path: str, links: Mapping[str, str]) -> str | None:
    """Where a path leads in an image, without a leading slash; None for links without an end."""
    waiting = [part for part in path.split("/") if part]
    done: list[str] = []
    count = 0
    while waiting:
        part = waiting.pop(0)
        if part in {".", ""}:
            continue
        if part == "..":
            done = done[:-1]
            continue
        here = "/".join([*done, part])
        target = links.get(here)
        if target is None:
            done.append(part)
            continue
        count += 1
        if count > _MOST_LINKS:
            return None
        if target.startswith("/"):
            done = []
        waiting = target.split("/") + waiting
    return "/".join(done)
