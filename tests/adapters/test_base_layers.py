"""A base in a layout, as a folder or an archive, and everything that can be wrong with it."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from provisioner.adapters.base_layers import Base, open_base
from provisioner.core.base_image import LayerFacts, base_facts
from provisioner.errors import GpuenvError, IntegrityError
from tests.simulators.base_images import libc_file, needs_programs, tar_of, write_base
from tests.simulators.images import run


def read(location: Path, tag: str | None = None) -> tuple[Base, list[LayerFacts]]:
    with open_base(location, tag, "x86_64") as base:
        return base, [base.layer_facts(index) for index in range(len(base.image.layers))]


def refused(location: Path, tag: str | None = None) -> GpuenvError:
    with pytest.raises(GpuenvError) as error:
        read(location, tag)
    return error.value


def blob_of(layout: Path, kind: str) -> Path:
    """The file of the manifest, the configuration, or the first layer."""
    blobs = layout / "blobs" / "sha256"
    index = json.loads((layout / "index.json").read_text(encoding="utf-8"))
    manifest = blobs / str(index["manifests"][0]["digest"]).removeprefix("sha256:")
    if kind == "manifest":
        return manifest
    told = json.loads(manifest.read_text(encoding="utf-8"))
    found = told["config"] if kind == "config" else told["layers"][0]
    return blobs / str(found["digest"]).removeprefix("sha256:")


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_a_layout_is_read(tmp_path: Path, compression: str) -> None:
    base, layers = read(write_base(tmp_path / "base", compression=compression))
    facts = base_facts(layers, base.image.config)
    assert facts.pythons == ("/usr/bin/python3.11",)
    assert facts.libc == ("glibc", "2.36")
    assert base.image.machine == "x86_64"


def test_an_archive_of_a_layout_is_read_alike(tmp_path: Path) -> None:
    layout = write_base(tmp_path / "base", libc=("musl", "1.2.5"))
    with tarfile.open(tmp_path / "base.tar", "w") as archive:
        archive.add(layout, arcname=".")
    one, two = read(layout), read(tmp_path / "base.tar")
    assert one[1] == two[1]
    assert one[0].image == two[0].image
    assert base_facts(one[1], {}).libc == ("musl", "1.2.5")
    with open_base(tmp_path / "base.tar", None, None) as base:
        copied = io.BytesIO()
        base.copy_layer(0, copied)
        assert copied.getvalue() == blob_of(layout, "layer").read_bytes()
        assert base.layer_path(0) is None


def test_skopeo_takes_what_the_tests_make_and_makes_what_is_read(tmp_path: Path) -> None:
    needs_programs("skopeo")
    layout = write_base(tmp_path / "base", tag="v1")
    run("skopeo", "copy", f"oci:{layout}:v1", f"oci-archive:{tmp_path}/base.tar:v1")
    assert read(layout, "v1")[1] == read(tmp_path / "base.tar", "v1")[1]


def test_gzip_members_follow_each_other_with_padding(tmp_path: Path) -> None:
    layer = tar_of({"usr/bin/python3.11": b"x" * 3000})
    layout = write_base(tmp_path / "base", layers=[layer])
    parts = gzip.compress(layer[:1000]) + gzip.compress(layer[1000:]) + bytes(512)
    _replace_layer(layout, parts)
    assert read(layout)[1][0].pythons == ("usr/bin/python3.11",)


def _replace_layer(layout: Path, content: bytes) -> None:
    """Put other bytes in the place of the layer, with all that leads to them."""
    import hashlib

    old = blob_of(layout, "layer")
    new = hashlib.sha256(content).hexdigest()
    old.with_name(new).write_bytes(content)
    manifest = blob_of(layout, "manifest")
    told = json.loads(manifest.read_text(encoding="utf-8"))
    told["layers"][0] |= {"digest": f"sha256:{new}", "size": len(content)}
    text = json.dumps(told).encode()
    name = hashlib.sha256(text).hexdigest()
    manifest.with_name(name).write_bytes(text)
    index = json.loads((layout / "index.json").read_text(encoding="utf-8"))
    index["manifests"][0] |= {"digest": f"sha256:{name}", "size": len(text)}
    (layout / "index.json").write_text(json.dumps(index), encoding="utf-8")


@pytest.mark.parametrize("kind", ["manifest", "config", "layer"])
def test_bytes_that_are_not_those_of_the_digest_are_told_with_both(
    tmp_path: Path, kind: str
) -> None:
    layout = write_base(tmp_path / "base")
    path = blob_of(layout, kind)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    error = refused(layout)
    assert isinstance(error, IntegrityError)
    assert error.exit_code == 4
    assert path.name in "".join(error.causes)


def test_a_layer_that_is_cut_off_is_damaged(tmp_path: Path) -> None:
    layout = write_base(tmp_path / "base")
    path = blob_of(layout, "layer")
    path.write_bytes(path.read_bytes()[:-5])
    assert isinstance(refused(layout), IntegrityError)


@pytest.mark.parametrize("content", [b"no archive", gzip.compress(b"no archive" * 200), b""])
def test_a_layer_that_is_no_archive_is_told(tmp_path: Path, content: bytes) -> None:
    layout = write_base(tmp_path / "base")
    _replace_layer(layout, content)
    assert refused(layout).code in {"base-invalid", "base-damaged"}


def test_a_diff_id_that_lies_is_told(tmp_path: Path) -> None:
    layout = write_base(tmp_path / "base")
    _replace_layer(layout, gzip.compress(tar_of({"usr/bin/python3.11": b"other"})))
    error = refused(layout)
    assert error.code == "base-damaged"
    assert "diff_id" in error.causes[0]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "nothing"])
def test_what_is_no_file_in_a_layout_is_refused_and_not_waited_for(
    tmp_path: Path, kind: str
) -> None:
    layout = write_base(tmp_path / "base")
    path = blob_of(layout, "layer")
    content = path.read_bytes()
    path.unlink()
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    assert isinstance(refused(layout), IntegrityError)


def test_odd_names_and_things_in_a_layer_are_let_pass(tmp_path: Path) -> None:
    device = tarfile.TarInfo("dev/null")
    device.type = tarfile.CHRTYPE
    outside = tarfile.TarInfo("../../etc/passwd")
    files = {"./usr/bin/python3.11": b"x", "/abs/bin/python3.12": b"x", **libc_file(("glibc", "2"))}
    layer = tar_of(files, {"usr/bin/python3": "python3.11"}, [device, outside])
    _, (facts,) = read(write_base(tmp_path / "base", layers=[layer]))
    assert facts.pythons == ("usr/bin/python3.11", "abs/bin/python3.12")
    assert facts.others == ("dev/null",)
    assert not [path for path in facts.files if "passwd" in path]


def test_a_place_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere").code == "base-invalid"


def test_a_folder_or_an_archive_that_is_no_layout_is_told_how_one_is_made(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "skopeo" in (refused(tmp_path / "folder").hint or "")
    with tarfile.open(tmp_path / "old.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("manifest.json"))
    assert refused(tmp_path / "old.tar").code == "base-invalid"
    (tmp_path / "text").write_text("no archive", encoding="utf-8")
    assert "skopeo" in (refused(tmp_path / "text").hint or "")
    assert refused(Path(os.devnull)).code == "base-invalid"


def test_a_layout_of_another_version_is_refused(tmp_path: Path) -> None:
    layout = write_base(tmp_path / "base")
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "9.0.0"}', encoding="utf-8")
    assert "version" in refused(layout).causes[0]
