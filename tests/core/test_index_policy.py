"""How long what an index gives may be used again, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.index_policy import (
    IMMUTABLE,
    REVALIDATE,
    SHIPPED,
    Policy,
    Subject,
    policy_for,
    subject_of,
)
from provisioner.core.profile import CacheControl, Index

WHEEL = "tensorrt_cu12-10.0-py3-none-any.whl"
OWN = Index(
    name="own",
    url="https://own.test/simple/",
    packages=("tensorrt*",),
    cache_control=CacheControl(api="max-age=60", files="max-age=5, immutable"),
    origin="`uv.toml`",
)
NO_STORE = "max-age=0, no-cache, no-store"


def of(url: str, header: str = "", *rules: Index, **more: str | bool) -> Policy:
    """The policy for a URL, with some rules before the shipped ones."""
    index, is_hashed = more.get("index"), bool(more.get("is_hashed"))
    subject = subject_of(url, index=str(index) if index else None, is_hashed=is_hashed)
    return policy_for(subject, header, (*rules, *SHIPPED))


@pytest.mark.parametrize(
    ("url", "kind", "package"),
    [
        ("https://own.test/simple/Tensorrt_cu12/", "page", "tensorrt-cu12"),
        ("https://own.test/simple/tensorrt", "page", "tensorrt"),
        ("https://pypi.nvidia.com/", "page", None),
        (f"https://own.test/a/{WHEEL}", "file", "tensorrt-cu12"),
        (f"https://own.test/a/{WHEEL}?signature=x/y.zip#sha256=00", "file", "tensorrt-cu12"),
        ("https://own.test/a/torch-2.0%2Bcu118-cp311-cp311-linux_x86_64.whl", "file", "torch"),
        ("https://own.test/a/demo-pkg-1.0.tar.gz", "file", "demo-pkg"),
        ("https://own.test/a/Demo.Pkg-1.0.tar.bz2", "file", "demo-pkg"),
        ("https://own.test/a/odd.whl", "file", None),
        (f"https://own.test/a/{WHEEL}.metadata", "metadata", "tensorrt-cu12"),
        ("https://own.test/simple/importlib-metadata/", "page", "importlib-metadata"),
    ],
)
def test_a_url_tells_what_it_stands_for(url: str, kind: str, package: str | None) -> None:
    found = subject_of(url)
    assert (found.kind, found.package) == (kind, package)


@pytest.mark.parametrize("header", ["", NO_STORE, "max-age=600", "immutable"])
def test_a_file_of_a_known_hash_is_kept_for_good_whatever_the_header(header: str) -> None:
    found = of(f"https://mirror.test/x/{WHEEL}", header, is_hashed=True)
    assert (found.cache_control, found.is_immutable, found.rule) == (IMMUTABLE, True, None)
    assert found.header == header


@pytest.mark.parametrize("rules", [(), (replace(OWN, packages=()),)])
@pytest.mark.parametrize(
    ("header", "told"),
    [("", REVALIDATE), ("max-age=60, immutable", "max-age=60"), ("immutable", REVALIDATE)],
)
def test_a_file_without_a_hash_is_never_immutable(
    rules: tuple[Index, ...], header: str, told: str
) -> None:
    found = of(f"https://own.test/simple/tensorrt/{WHEEL}", header, *rules)
    assert (found.cache_control, found.is_immutable, found.lifetime) == (told, False, 0)
    assert found.rule is None
    assert "hash" in found.because


def test_a_rule_says_what_clients_are_told_of_a_file() -> None:
    found = of(f"https://own.test/simple/tensorrt/{WHEEL}", NO_STORE, OWN, is_hashed=True)
    assert (found.cache_control, found.rule) == ("max-age=5, immutable", OWN)
    assert found.is_immutable


def test_a_rule_covers_the_files_that_its_index_names_wherever_they_lie() -> None:
    elsewhere = f"https://files.test/ab/{WHEEL}"
    named = of(elsewhere, "", OWN, is_hashed=True, index="https://own.test/simple")
    assert named.rule == OWN
    assert of(elsewhere, "", OWN, is_hashed=True, index="https://other.test/simple").rule is None


def test_a_rule_for_some_packages_leaves_the_others_alone() -> None:
    assert of("https://own.test/simple/tensorrt-cu12/", "max-age=9", OWN).rule == OWN
    other = of("https://own.test/simple/numpy/", "max-age=9", OWN)
    assert (other.rule, other.cache_control) == (None, "max-age=9")
    assert of("https://own.test/simple/", "max-age=9", OWN).rule is None


def test_of_several_rules_the_first_that_says_something_for_the_kind_counts() -> None:
    files_only = replace(OWN, name="first", cache_control=CacheControl(files="max-age=7"))
    page = of("https://own.test/simple/tensorrt/", "", files_only, OWN)
    file = of(f"https://own.test/simple/tensorrt/{WHEEL}", "", files_only, OWN, is_hashed=True)
    assert (page.rule, file.rule) == (OWN, files_only)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://pypi.nvidia.com/tensorrt-cu12/", "nvidia"),
        ("https://PyPI.NVIDIA.com:443/tensorrt-cu12/", "nvidia"),
        ("https://pypi.ngc.nvidia.com/tensorrt/", "nvidia-ngc"),
        ("https://download.pytorch.org/whl/cu128/torch/", "pytorch"),
    ],
)
def test_pages_of_indexes_that_forbid_to_keep_them_hold_for_ten_minutes(
    url: str, name: str
) -> None:
    found = of(url, NO_STORE)
    assert (found.lifetime, found.rule and found.rule.name) == (600, name)
    assert not found.is_immutable


@pytest.mark.parametrize(
    "url",
    [
        "https://pypi.org/simple/numpy/",
        "https://mirror.test/tensorrt/",
        "http://pypi.nvidia.com/tensorrt/",
        "https://pypi.nvidia.com:8443/tensorrt/",
        "https://pypi.nvidia.com.evil.test/tensorrt/",
        f"https://files.pythonhosted.org/{WHEEL}.metadata",
    ],
)
def test_pages_of_all_others_follow_their_header(url: str) -> None:
    assert of(url, "max-age=5").cache_control == "max-age=5"
    assert of(url, NO_STORE).lifetime == 0
    silent = of(url)
    assert (silent.cache_control, silent.lifetime, silent.rule) == (REVALIDATE, 0, None)


def test_a_page_is_not_immutable_whoever_says_so() -> None:
    rule = replace(OWN, cache_control=CacheControl(api="max-age=60, immutable"))
    assert of("https://own.test/simple/tensorrt/", "", rule).cache_control == "max-age=60"
    said = of("https://x.test/simple/tensorrt/", "max-age=70, Immutable")
    assert (said.cache_control, said.lifetime) == ("max-age=70", 70)
    only = replace(OWN, cache_control=CacheControl(api="immutable"))
    assert of("https://own.test/simple/tensorrt/", "", only).cache_control == REVALIDATE


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (NO_STORE, "max-age=0, no-cache"),
        ("no-store", REVALIDATE),
        ("max-age=60, No-Store", "max-age=60, no-cache"),
    ],
)
def test_what_must_not_be_stored_may_be_kept_to_ask_whether_it_is_the_same(
    said: str, told: str
) -> None:
    found = of("https://x.test/simple/tensorrt/", said)
    assert (found.cache_control, found.lifetime) == (told, 0)


CONTROLS = st.lists(
    st.sampled_from(["immutable", "Immutable", "max-age=60", "public", "no-store"]), max_size=4
).map(", ".join)
SUBJECTS = st.builds(
    Subject,
    url=st.sampled_from(["https://own.test/simple/tensorrt/", "https://x.test/a"]),
    kind=st.sampled_from(["page", "metadata", "file"]),
    package=st.sampled_from(["tensorrt", "numpy", None]),
    index=st.sampled_from([None, "https://own.test/simple"]),
    is_hashed=st.booleans(),
)


@given(SUBJECTS, CONTROLS, CONTROLS, CONTROLS)
def test_only_a_file_with_a_hash_is_immutable(
    subject: Subject, header: str, api: str, files: str
) -> None:
    rule = replace(OWN, cache_control=CacheControl(api=api or None, files=files or None))
    found = policy_for(subject, header, (rule, *SHIPPED))
    hashed = subject.kind == "file" and subject.is_hashed
    assert found.is_immutable == hashed
    assert hashed or "immutable" not in found.cache_control.lower()
    assert found.cache_control
    assert found.because


@pytest.mark.parametrize(
    ("url", "package"),
    [
        ("https://i.test/simple/Foo.Bar/", "foo-bar"),
        ("https://i.test/simple/foo-bar", "foo-bar"),
        ("https://f.test/ab/foo_bar-1.0-py3-none-any.whl", "foo-bar"),
        ("https://f.test/ab/foo_bar-1.0-py3-none-any.whl.metadata", "foo-bar"),
        ("https://f.test/ab/foo-bar-1.0.tar.gz", "foo-bar"),
        ("https://f.test/ab/Foo.Bar-1.0-odd.whl", "foo-bar"),
        ("https://f.test/ab/what.whl", None),
        ("https://f.test/", None),
    ],
)
def test_a_url_tells_its_package(url: str, package: str | None) -> None:
    assert subject_of(url).package == package
