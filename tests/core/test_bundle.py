"""The manifest of a bundle: written and read alike, and believed of itself alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.blob_record import Origin
from provisioner.core.bundle import (
    BundledBlob,
    BundledLock,
    BundledPage,
    Manifest,
    read_manifest,
)
from provisioner.core.digest import Digest
from provisioner.core.first_seen import FirstSeen
from provisioner.errors import GpuenvError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable

ONE, TWO = Digest("1" * 64), Digest("2" * 64)
URL = "https://index.test/simple/demo/"
MANIFEST = Manifest(
    name="app",
    blobs=(
        BundledBlob(
            digest=ONE,
            size=10,
            origins=(Origin(name="demo-1.0.tar.gz", url="https://index.test/demo-1.0.tar.gz"),),
            needs=frozenset({TWO}),
            projects=("app",),
        ),
        BundledBlob(digest=TWO, size=20),
    ),
    first_seen=(
        FirstSeen(
            index="https://index.test", name="demo-1.0.tar.gz", digest=ONE, url=URL, seen=1.5
        ),
    ),
    pages=(
        BundledPage(
            key="https://f.test/x.whl",
            url="https://f.test/x.whl",
            headers={},
            stored=1.0,
            digest=TWO,
        ),
        BundledPage(
            key=f"{URL}\ntext/html",
            url=URL,
            headers={"etag": '"x"'},
            stored=2.0,
            body=Digest("3" * 64),
            size=5,
        ),
    ),
    locks=(BundledLock(project="app", name="uv.lock", digest=Digest("4" * 64), size=7),),
)

digests = st.text("0123456789abcdef", min_size=64, max_size=64).map(Digest)
names = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=20).filter(
    str.isprintable
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Manifests of any files, with notes of some of them."""
    blobs = draw(
        st.lists(
            st.builds(
                BundledBlob,
                digest=digests,
                size=st.integers(0, 1 << 50),
                origins=st.lists(
                    st.builds(Origin, name=names, url=st.just("https://i.test/a")), max_size=2
                ).map(tuple),
                needs=st.none() | st.frozensets(digests, max_size=2),
                projects=st.lists(names, max_size=2).map(lambda item: tuple(sorted(item))),
            ),
            max_size=4,
            unique_by=lambda blob: blob.digest,
        )
    )
    seen = [
        FirstSeen(index="https://i.test", name=str(number), digest=blob.digest, url=URL, seen=1.0)
        for number, blob in enumerate(blobs)
    ]
    return Manifest(
        name=draw(names),
        blobs=tuple(sorted(blobs, key=lambda blob: blob.digest)),
        first_seen=tuple(seen),
    )


@given(manifests())
def test_what_is_written_is_read(manifest: Manifest) -> None:
    assert read_manifest(manifest.text().encode()) == manifest


@given(manifests(), st.randoms())
def test_the_order_of_things_changes_nothing(manifest: Manifest, random: Any) -> None:  # noqa: ANN401
    blobs = list(manifest.blobs)
    random.shuffle(blobs)
    other = Manifest(name=manifest.name, blobs=tuple(blobs), first_seen=manifest.first_seen[::-1])
    assert other.text() == manifest.text()


def test_a_whole_manifest_is_read_as_it_was_written() -> None:
    assert read_manifest(MANIFEST.text().encode()) == MANIFEST
    assert [member.kind for member in MANIFEST.members().values()] == [
        "locks",
        "pages",
        "blobs",
        "blobs",
    ]


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'"x"', b"{}", b"\xff", b"[" * 100_000, b'{"gpuenv-bundle": 2}']
)
def test_what_is_no_manifest_of_this_format_is_refused(text: bytes) -> None:
    with pytest.raises(GpuenvError) as caught:
        read_manifest(text)
    assert (caught.value.code, caught.value.exit_code) == ("bundle-format", 1)


def test_another_format_is_named_with_both_numbers() -> None:
    with pytest.raises(GpuenvError) as caught:
        read_manifest(b'{"gpuenv-bundle": 2}')
    assert caught.value.causes == ("this gpuenv knows format `1`, it has `2`",)


def change(path: str, value: object) -> Callable[[Any], None]:
    """Change what stands at a path such as `blobs.0.size`."""

    def apply(data: Any) -> None:  # noqa: ANN401
        *parents, last = path.split(".")
        for step in parents:
            data = data[int(step) if step.isdigit() else step]
        data[int(last) if last.isdigit() else last] = value

    return apply


@pytest.mark.parametrize(
    "spoil",
    [
        change("name", 7),
        change("name", "\x1b[2J"),
        change("blobs", 7),
        change("blobs.0.sha256", "../../etc/passwd"),
        change("blobs.0.sha256", "2" * 64),
        change("blobs.0.size", -1),
        change("blobs.0.size", "10"),
        change("blobs.0.size", 1.5),
        change("blobs.0.origins.0.name", "a\nb"),
        change("blobs.0.needs", ["x"]),
        change("first_seen.0.sha256", "5" * 64),
        change("first_seen.0.seen", float("nan")),
        change("first_seen.0.index", "a\x00b"),
        change("pages.0.sha256", "5" * 64),
        change("pages.0.sha256", None),
        change("pages.0.body", "3" * 64),
        change("pages.0.url", "file:///etc/passwd"),
        change("pages.1.url", "https://user:secret@index.test/simple/demo/"),
        change("pages.1.key", "https://elsewhere.test/simple/demo/\ntext/html"),
        change("pages.1.stored", float("inf")),
        change("pages.1.headers.etag", "a\r\nset-cookie: b"),
        change("locks.0.size", None),
    ],
)
def test_a_manifest_that_contradicts_itself_is_damaged(spoil: Callable[[Any], None]) -> None:
    data = json.loads(MANIFEST.text())
    spoil(data)
    with pytest.raises(IntegrityError) as caught:
        read_manifest(json.dumps(data).encode())
    assert caught.value.code == "bundle-damaged"


def test_a_member_has_one_size() -> None:
    data = json.loads(MANIFEST.text())
    data["pages"].append({**data["pages"][1], "key": f"{URL}\nother", "size": 6})
    with pytest.raises(IntegrityError, match="damaged"):
        read_manifest(json.dumps(data).encode())


def test_secrets_in_the_urls_of_a_bundle_are_not_taken_over() -> None:
    data = json.loads(MANIFEST.text())
    data["blobs"][0]["origins"][0]["url"] = "https://user:secret@index.test/demo.tar.gz?token=x"
    (origin,) = read_manifest(json.dumps(data).encode()).blobs[0].origins
    assert origin.url == "https://index.test/demo.tar.gz"
