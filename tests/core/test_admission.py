"""What a client behind the gateway may ask for."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from provisioner.core.admission import Admission, as_asked, direct_urls, is_clean, lies_below
from provisioner.core.urls import origin

INDEX = "https://index.test/group%2Fteam/simple/"
ADMITTED = Admission().with_places([INDEX]).with_urls(["https://files.test/a/demo-1.0.tar.gz#x=1"])


@pytest.mark.parametrize(
    "url",
    [
        "https://index.test/group%2Fteam/simple",
        "https://index.test/group%2Fteam/simple/",
        "https://index.test/group%2Fteam/simple/demo/",
        "https://INDEX.test:443/group%2Fteam/simple/demo/demo-1.0+cu12-py3-none-any.whl",
        "https://index.test/group%2Fteam/simple/demo/demo-1.0%2Bcu12-py3-none-any.whl?sig=%2F..",
        "https://files.test/a/demo-1.0.tar.gz",
    ],
)
def test_what_lies_below_an_index_or_is_named_is_admitted(url: str) -> None:
    assert ADMITTED.admits(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://index.test/",
        "https://index.test/group%2Fteam/simpler/demo/",
        "https://index.test/GROUP%2Fteam/simple/demo/",
        "https://index.test/group/team/simple/demo/",
        "https://index.test/group%2Fteam/simple/../secret",
        "https://index.test/group%2Fteam/simple/demo/..%2f..%2fsecret",
        "https://index.test/group%2Fteam/simple/%2e%2e/secret",
        "https://index.test/group%2Fteam/simple/%252e%252e/secret",
        "https://index.test/group%2Fteam/simple/.%2E/secret",
        "https://index.test/group%2Fteam/simple/./demo",
        "https://index.test/group%2Fteam/simple//evil.test/",
        "https://index.test/group%2Fteam/simple/..\\\\secret",
        "https://index.test/group%2Fteam/simple/%5c..%5csecret",
        "https://index.test/group%2Fteam/simple/demo%00.whl",
        "https://index.test/group%2Fteam/simple/de mo/",
        "http://index.test/group%2Fteam/simple/demo/",
        "https://index.test:8443/group%2Fteam/simple/demo/",
        "https://index.test.evil.test/group%2Fteam/simple/demo/",
        "https://index.test@evil.test/group%2Fteam/simple/demo/",
        "https://user:secret@index.test/group%2Fteam/simple/demo/",
        "https://evil.test\\@index.test/group%2Fteam/simple/demo/",
        "https://evil.test#@index.test/group%2Fteam/simple/demo/",
        "ftp://index.test/group%2Fteam/simple/demo/",
        "https:///group%2Fteam/simple/demo/",
        "https://[index.test/group%2Fteam/simple/demo/",
        "https://index.test:99999/group%2Fteam/simple/demo/",
        "https://files.test/a/",
        "https://files.test/a/demo-1.0.tar.gz/..",
        "https://files.test/a/other-1.0.tar.gz",
    ],
)
def test_what_lies_elsewhere_is_not(url: str) -> None:
    assert not ADMITTED.admits(url)


DOTS = (".", "..", "%2e", "%2E", "%252e")
SLASHES = ("/", "//", "%2f", "%5c", "\\")
PIECES = st.sampled_from(("demo", "simple", "evil.test", *DOTS, *SLASHES, *"@:?#; é\0", "%00"))
TAILS = st.lists(PIECES, max_size=8).map("".join)


def resolved(path: str) -> list[str]:
    """The segments of a path as the laxest of servers reads it: decoded until nothing changes."""
    from urllib.parse import unquote

    while (decoded := unquote(path).replace("\\", "/")) != path:
        path = decoded
    found: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            found = found[:-1]
        elif segment not in {"", "."}:
            found.append(segment)
    return found


@given(TAILS)
def test_no_trick_leaves_the_index(tail: str) -> None:
    from urllib.parse import urlsplit

    url = f"https://index.test/a/simple{tail}"
    if lies_below(url, "https://index.test/a/simple"):
        assert origin(url) == "https://index.test:443"
        assert resolved(urlsplit(url).path)[:2] == ["a", "simple"]


@given(TAILS)
def test_no_trick_reaches_another_host(tail: str) -> None:
    url = f"https://index.test{tail}/simple/demo/"
    if lies_below(url, "https://index.test/simple"):
        import httpx

        assert httpx.URL(url).host == "index.test"
        assert httpx.URL(url).port is None


@given(st.text(max_size=30))
def test_any_text_has_an_answer(text: str) -> None:
    for url in (text, f"https://{text}", f"https://index.test/{text}"):
        assert is_clean(url) in {True, False}
        assert ADMITTED.admits(url) in {True, False}


def test_an_index_without_a_path_has_all_of_its_host_and_no_other() -> None:
    whole = Admission().with_places(["https://index.test"])
    assert whole.admits("https://index.test/demo/demo-1.0.tar.gz")
    assert not whole.admits("https://index.test:8443/demo/")


def test_places_of_this_machine_are_none() -> None:
    assert Admission().with_places(["file:///opt/wheels", "./wheels"]) == Admission()


def test_files_that_a_project_names_by_their_url_are_found_wherever_they_stand() -> None:
    manifest = {
        "project": {"dependencies": ["demo @ https://u:p@f.test/demo-1.0.tar.gz ; os_name=='nt'"]},
        "tool": {
            "uv": {"sources": {"x": [{"url": "https://f.test/x-1-py3-none-any.whl#sha256=0"}]}}
        },
        "more": [1, None, "https://f.test/page.html"],
    }
    assert direct_urls(manifest) == {
        "https://f.test/demo-1.0.tar.gz",
        "https://f.test/x-1-py3-none-any.whl",
    }


@pytest.mark.parametrize(
    ("place", "url"),
    [
        ("https://h.test/simple//", "https://h.test/simple//torch/"),
        ("https://h.test/simple//", "https://h.test/simple/torch/"),
        ("https://h.test/my index/{x}", "https://h.test/my%20index/%7Bx%7D/torch/"),
        ("https://h.test/a%2Fb/simple", "https://h.test/a%2Fb/simple/torch/"),
        ("https://h.test/ünï/simple", "https://h.test/%C3%BCn%C3%AF/simple/torch/"),
        ("https://h.test/a/../b/./simple", "https://h.test/b/simple/torch/"),
        ("https://h.test/a/%2E%2e/simple/.", "https://h.test/simple/torch/"),
        ("https://München.test:443/simple", "https://xn--mnchen-3ya.test/simple/torch/"),
        ("https://straße.test/simple", "https://xn--strae-oqa.test/simple/torch/"),
        ("https://me:secret@H.test:8443", "https://h.test:8443/torch/"),
        ("https://[::1]/simple", "https://[::1]/simple/torch/"),
    ],
)
def test_an_index_counts_however_it_is_spelled(place: str, url: str) -> None:
    assert Admission().with_places([place]).admits(url)
    named = Admission().with_urls([f"{place}/torch-1.zip"])
    assert named.admits(as_asked(f"{place}/torch-1.zip"))


def test_what_is_asked_for_is_taken_as_it_is() -> None:
    admission = Admission().with_places(["https://h.test/my index"])
    assert not admission.admits("https://h.test/my index/torch/")
    assert not admission.admits("https://h.test/a/../my%20index/torch/")
    assert not admission.admits("https://h.test/my%20index//torch/")
    assert not admission.admits("https://strasse.test/torch/")
    assert not Admission().with_places(["https://straße.test"]).admits("https://strasse.test/a/")


@given(TAILS)
@example("/\\/")
@example("///")
def test_a_spelling_stays_once_it_is_that_of_clients(tail: str) -> None:
    for place in (f"https://index.test/{tail}", f"https://{tail}/simple"):
        once = as_asked(place)
        assert as_asked(once) == once


@given(TAILS, TAILS)
def test_no_trick_leaves_an_index_however_it_is_spelled(odd: str, tail: str) -> None:
    from urllib.parse import urlsplit

    place = f"https://index.test/a/{odd}"
    url = f"{as_asked(place)}{tail}"
    if Admission().with_places([place]).admits(url):
        assert origin(url) == "https://index.test:443"
        outer = resolved(urlsplit(as_asked(place)).path)
        assert resolved(urlsplit(url).path)[: len(outer)] == outer


@given(st.text(max_size=30))
def test_any_text_has_a_spelling(text: str) -> None:
    for place in (text, f"https://{text}", f"https://index.test/{text}"):
        Admission().with_places([place]).admits(f"{place}/demo/")
