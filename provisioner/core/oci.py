"""OCI images as JSON: descriptors, manifests, configurations (OCI image specification 1.1)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from provisioner.core.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Compression = Literal["gzip", "zstd"]

INDEX: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
TAG: Final = "org.opencontainers.image.ref.name"

MOST_LAYERS: Final = 127
"""As many as the overlay2 driver of Docker and Podman puts on each other."""

ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
"""The names of Go, which the specification asks for, by those of the kernel."""

_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
# What Docker's own manifests call the same things.
_OF_DOCKER: Final = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{_LAYER}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": f"{_LAYER}+zstd",
    "application/vnd.docker.image.rootfs.diff.tar": _LAYER,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A layer as it is shipped: compressed `digest` and `size`, and `diff_id` of the tar in it.

    `created_by` says in the history what it is.
    """

    digest: Digest
    diff_id: Digest
    size: int
    media_type: str
    created_by: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A JSON document as it is shipped."""

    media_type: str
    content: bytes

    @property
    def digest(self) -> Digest:
        """Its name."""
        return Digest(hashlib.sha256(self.content).hexdigest())

    def descriptor(self, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """What leads to it."""
        return descriptor(self.media_type, self.digest, len(self.content), **more)


def layer_type(compression: Compression) -> str:
    """The media type of a compressed layer."""
    return f"{_LAYER}+{compression}"


def as_oci(media_type: str) -> str:
    """The media type of a layer in the words of OCI, where it is Docker's."""
    return _OF_DOCKER.get(media_type, media_type)


def descriptor(media_type: str, digest: Digest, size: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """What leads to a blob."""
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size, **more}


def document(media_type: str, data: Mapping[str, Any]) -> Document:
    """JSON in one form for everybody: keys sorted, nothing between."""
    content = json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
    return Document(media_type=media_type, content=content)


def image_config(  # noqa: PLR0913 - all that an image says of itself
    base: Mapping[str, Any] | None,
    layers: Iterable[Layer],
    *,
    machine: str,
    created: str,
    variables: Mapping[str, str],
    labels: Mapping[str, str],
    entry: str | None,
) -> Document:
    """The configuration of an image on a base.

    `created` is a time as RFC 3339 has it. `layers` are those on top of the base's; `variables`
    go over the base's, and `PATH` stands before what the base has there. `entry` is a program
    that the base's own entry point, or the command, is handed to.
    """
    base = base or {}
    of_base = dict(base.get("config") or {})
    found = dict(item.partition("=")[::2] for item in of_base.get("Env") or ())
    found = {"PATH": DEFAULT_PATH, **found}
    for name, value in variables.items():
        found[name] = f"{value}:{found['PATH']}" if name == "PATH" else value
    config = {
        **of_base,
        "Env": [f"{name}={value}" for name, value in found.items()],
        "Labels": {**(of_base.get("Labels") or {}), **labels},
    }
    if entry:
        config["Entrypoint"] = [entry, *(of_base.get("Entrypoint") or ())]
    layers = tuple(layers)
    rootfs = base.get("rootfs") or {}
    data = {
        **({"variant": base["variant"]} if base.get("variant") else {}),
        "architecture": base.get("architecture") or ARCHITECTURES.get(machine, machine),
        "os": base.get("os") or "linux",
        "created": created,
        "config": config,
        "rootfs": {
            "type": "layers",
            "diff_ids": [
                *(rootfs.get("diff_ids") or ()),
                *(f"sha256:{layer.diff_id}" for layer in layers),
            ],
        },
        "history": [
            *_history(base, created),
            *({"created": created, "created_by": layer.created_by} for layer in layers),
        ],
    }
    return document(CONFIG, data)


def _history(base: Mapping[str, Any], created: str) -> list[Any]:
    """The history of a base, with as many entries of layers as it has layers.

    What reads images counts on that, and not every tool that makes them writes a history.
    """
    found = list(base.get("history") or ())
    told = sum(1 for item in found if not (isinstance(item, dict) and item.get("empty_layer")))
    unknown = {"created": created, "created_by": "the base"}
    layers = len((base.get("rootfs") or {}).get("diff_ids") or ())
    return [*found[: len(found) - max(told - layers, 0)], *[unknown] * (layers - told)]


DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The `PATH` of a container whose image names none, as Docker and Podman have it."""


def image_manifest(config: Document, layers: Iterable[Mapping[str, Any]]) -> Document:
    """The manifest of an image; `layers` are descriptors, the lowest first."""
    return document(
        MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": list(layers),
        },
    )


def image_index(manifest: Document, tag: str, *, machine: str) -> Document:
    """The index of a layout with one image, under a tag."""
    platform = {"architecture": ARCHITECTURES.get(machine, machine), "os": "linux"}
    found = manifest.descriptor(annotations={TAG: tag}, platform=platform)
    return document(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [found]})
