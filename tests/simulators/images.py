"""Images of the OCI, read by the standard library alone."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from provisioner.adapters._zstd import ZstdDecompressor

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Image:
    """The image of a tag in a layout."""

    layout: Path
    tag: str = "latest"

    def blob(self, digest: str) -> bytes:
        """A blob, whose name has to be its hash."""
        name = digest.removeprefix("sha256:")
        content = (self.layout / "blobs" / "sha256" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == name
        return content

    @cached_property
    def digest(self) -> str:
        """That of the manifest."""
        index = json.loads((self.layout / "index.json").read_text(encoding="utf-8"))
        (found,) = (
            item["digest"]
            for item in index["manifests"]
            if item["annotations"]["org.opencontainers.image.ref.name"] == self.tag
        )
        return str(found)

    @property
    def manifest(self) -> dict[str, Any]:
        """What lists the layers."""
        found: dict[str, Any] = json.loads(self.blob(self.digest))
        return found

    @property
    def config(self) -> dict[str, Any]:
        """What says how it runs."""
        found: dict[str, Any] = json.loads(self.blob(self.manifest["config"]["digest"]))
        return found

    @property
    def variables(self) -> dict[str, str]:
        """What a container has in its environment."""
        return dict(item.partition("=")[::2] for item in self.config["config"]["Env"])

    @property
    def layers(self) -> list[str]:
        """The digests of the layers as they are shipped."""
        return [item["digest"] for item in self.manifest["layers"]]

    @property
    def diff_ids(self) -> list[str]:
        """Those of what is in them."""
        found: list[str] = self.config["rootfs"]["diff_ids"]
        return found

    def archives(self) -> list[bytes]:
        """The layers as tar archives, each of which has to have its hash."""
        found = []
        for item, diff_id in zip(self.manifest["layers"], self.diff_ids, strict=True):
            content = self.blob(item["digest"])
            assert len(content) == item["size"]
            archive = unpacked(content, item["mediaType"])
            assert f"sha256:{hashlib.sha256(archive).hexdigest()}" == diff_id
            found.append(archive)
        return found

    def members(self) -> list[dict[str, tarfile.TarInfo]]:
        """What is in each layer, by path."""
        found = []
        for archive in self.archives():
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                members = tar.getmembers()
            found.append({member.name: member for member in members})
            assert len(found[-1]) == len(members)
        return found

    def files(self) -> dict[str, bytes]:
        """The regular files of all layers, by path; the highest layer counts."""
        found = {}
        for archive in self.archives():
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                for member in tar:
                    if member.isreg():
                        file = tar.extractfile(member)
                        assert file is not None
                        found[member.name] = file.read()
        return found


def unpacked(content: bytes, media_type: str) -> bytes:
    """What is in a layer."""
    if media_type.endswith("gzip"):
        found = b""
        while content:
            member = zlib.decompressobj(31)
            found += member.decompress(content)
            assert member.eof
            content = member.unused_data
        return found
    if media_type.endswith("zstd"):
        return ZstdDecompressor().decompress(content)
    return content


def run(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401 - as subprocess has them
    """Run a program that has to succeed."""
    done = subprocess.run(
        [*map(str, words)], capture_output=True, text=True, check=False, timeout=300, **options
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done
