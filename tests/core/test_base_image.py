"""What the documents and layers of a base say, whatever they are."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.base_image import (
    LayerFacts,
    base_facts,
    choose_image,
    normal_path,
    python_version,
    read_config,
    read_manifest,
    whiteout_of,
)
from provisioner.errors import GpuenvError

DIGEST = f"sha256:{hashlib.sha256(b'').hexdigest()}"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
NOTHING: dict[str, Any] = {}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "manifests",
                        "digest",
                        "size",
                        "mediaType",
                        "platform",
                        "annotations",
                        "layers",
                    ),
                    *(
                        "config",
                        "rootfs",
                        "diff_ids",
                        "architecture",
                        "os",
                        "history",
                        "Env",
                        "urls",
                    ),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


def image(tag: str | None = None, machine: str | None = None, **more: object) -> dict[str, Any]:
    found: dict[str, Any] = {"mediaType": MANIFEST, "digest": DIGEST, "size": 1, **more}
    if tag:
        found["annotations"] = {"org.opencontainers.image.ref.name": tag}
    if machine:
        found["platform"] = {"architecture": machine, "os": "linux"}
    return found


def index(*images: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": images}).encode()


def causes(error: pytest.ExceptionInfo[GpuenvError]) -> str:
    return "\n".join(error.value.causes)


@given(JSON)
def test_no_document_is_a_traceback(data: object) -> None:
    content = json.dumps(data).encode()
    for read in (
        lambda: choose_image(content, "base", None, "x86_64"),
        lambda: choose_image(content, "base", "a", None),
        lambda: read_manifest(content, "base"),
        lambda: read_config(content, "base", 1),
    ):
        try:
            read()
        except GpuenvError:
            continue


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff", b"null", b"[]"])
def test_what_is_no_json_object_is_no_image(content: bytes) -> None:
    with pytest.raises(GpuenvError):
        choose_image(content, "base", None, None)


def test_the_only_image_needs_no_tag() -> None:
    assert choose_image(index(image("a")), "base", None, None).size == 1
    assert choose_image(index(image()), "base", None, None).size == 1


def test_of_several_images_one_is_named() -> None:
    both = index(image("a"), image("b", size=2))
    assert choose_image(both, "base", "b", None).size == 2
    with pytest.raises(GpuenvError) as error:
        choose_image(both, "base", None, None)
    assert "`a`, `b`" in causes(error)
    assert error.value.hint == "`--base base:a`"
    with pytest.raises(GpuenvError) as error:
        choose_image(both, "base", "c", None)
    assert "no tag `c`" in causes(error)
    assert "`a`, `b`" in causes(error)


def test_of_several_platforms_the_machines_is_taken() -> None:
    both = index(image(machine="amd64"), image(machine="arm64", size=2), image(machine="unknown"))
    assert choose_image(both, "base", None, "aarch64").size == 2
    with pytest.raises(GpuenvError) as error:
        choose_image(both, "base", None, "ppc64le")
    assert error.value.code == "base-architecture"
    assert "`aarch64`, `x86_64`" in causes(error)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"digest": "sha512:00"}, "`sha512:00` is no sha256"),
        ({"digest": "sha256:../../x"}, "is not a SHA-256"),
        ({"size": -1}, "malformed"),
        ({"size": True}, "malformed"),
        ({"mediaType": f"{LAYER}+encrypted"}, "not supported"),
        ({"urls": ["https://elsewhere.example/x"]}, "is elsewhere"),
    ],
)
def test_a_layer_that_cannot_be_read_is_told(change: dict[str, object], told: str) -> None:
    config = {"mediaType": "x", "digest": DIGEST, "size": 1}
    layer = {"mediaType": f"{LAYER}+gzip", "digest": DIGEST, "size": 1, **change}
    data = json.dumps({"schemaVersion": 2, "config": config, "layers": [layer]}).encode()
    with pytest.raises(GpuenvError) as error:
        read_manifest(data, "base")
    assert told in causes(error)


def test_a_configuration_has_to_fit_the_layers() -> None:
    data = {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [DIGEST]}}
    read_config(json.dumps(data).encode(), "base", 1)
    for layers, change in ((2, NOTHING), (1, {"os": "windows"}), (1, {"config": {"Env": [1]}})):
        with pytest.raises(GpuenvError):
            read_config(json.dumps({**data, **change}).encode(), "base", layers)


def facts(*layers: LayerFacts, path: str = "") -> Any:  # noqa: ANN401 - shorter
    config = {"config": {"Env": [f"PATH={path}"]}} if path else {}
    return base_facts(layers, config)


def test_pythons_are_those_of_the_path_first_and_links_lead_to_them() -> None:
    layer = LayerFacts(
        pythons=("usr/bin/python3.11", "usr/local/bin/python3.12", "opt/x/bin/python3.13t"),
        links={
            "bin": "usr/bin",
            "usr/bin/python3.9": "/etc/alternatives/python",
            "etc/alternatives/python": "nowhere",
            "srv/bin/python3.11": "../../usr/bin/python3.11",
        },
    )
    assert facts(layer).pythons == (
        "/usr/local/bin/python3.12",
        "/usr/bin/python3.11",
        "/opt/x/bin/python3.13t",
    )
    assert facts(layer, path="/bin:/usr/local/bin").pythons[0] == "/bin/python3.11"
    assert python_version("/opt/x/bin/python3.13t") == "3.13t"


def test_links_in_a_circle_lead_nowhere() -> None:
    layer = LayerFacts(
        pythons=("usr/bin/python3.11",), links={"a/bin/python3.12": "/b/bin/python3.12", "b": "/a"}
    )
    assert facts(layer).pythons == ("/usr/bin/python3.11",)


def test_what_a_later_layer_removes_is_gone() -> None:
    first = LayerFacts(
        pythons=("usr/bin/python3.11", "usr/local/bin/python3.12"),
        libc={"lib/libc.so.6": ("glibc", "2.36")},
        links={"opt": "/data"},
    )
    second = LayerFacts(whiteouts=("usr/bin/python3.11", "opt"), opaque=("usr/local/bin",))
    found = facts(first, second)
    assert (found.pythons, found.libc) == ((), ("glibc", "2.36"))
    assert found.obstacle("/opt/gpuenv") is None
    assert facts(first).obstacle("/opt/gpuenv") == "`/opt` is a symbolic link to `/data` there"


def test_glibc_counts_before_a_musl_beside_it() -> None:
    layer = LayerFacts(
        libc={"lib/ld-musl-x86_64.so.1": ("musl", "1.2.3"), "lib/libc.so.6": ("glibc", "2.31")}
    )
    assert facts(layer).libc == ("glibc", "2.31")


def test_facts_are_read_as_they_were_written() -> None:
    layer = LayerFacts(
        pythons=("a",), files=("b",), others=("c",), whiteouts=("d",), opaque=("e",),
        links={"f": "g"}, libc={"h": ("musl", "1.2")},
    )  # fmt: skip
    assert LayerFacts.from_json(json.loads(json.dumps(layer.to_json()))) == layer


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("./usr/bin/", "usr/bin"),
        ("/usr//bin", "usr/bin"),
        ("a/../b", "b"),
        ("../b", None),
        ("a/../../b", None),
        ("./", None),
        ("..", None),
    ],
)
def test_names_in_an_archive_stay_inside(name: str, path: str | None) -> None:
    assert normal_path(name) == path


def test_whiteouts() -> None:
    assert whiteout_of("usr/.wh.bin") == ("usr/bin", False)
    assert whiteout_of("usr/.wh..wh..opq") == ("usr", True)
    assert whiteout_of("usr/bin") is None
