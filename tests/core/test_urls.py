"""URLs as they are compared and shown."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.urls import (
    Login,
    file_name,
    is_below,
    is_open,
    is_remote,
    is_same_index,
    login_for,
    login_in,
    origin,
    plain,
    require_web,
    without_secrets,
)
from provisioner.errors import UsageError


@pytest.mark.parametrize(
    "url",
    [
        "foo",
        "file:///srv/simple/",
        "ftp://host.test/",
        "http://",
        "http:///x/",
        "http://[::1/",
        "http://host.test:99999/",
        "http://host.test:x/",
    ],
)
def test_what_no_index_can_be_asked_by_is_refused_and_its_password_is_not_shown(url: str) -> None:
    require_web("https://u:p@host.test/simple/", "")
    with pytest.raises(UsageError, match="is not an http or https URL"):
        require_web(url, "")
    with pytest.raises(UsageError) as raised:
        require_web("ftp://u:secret@host.test/", "")
    assert "secret" not in raised.value.message


WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://pypi.org/simple/x/", "https://pypi.org/simple/x/"),
        ("https://user:secret@pypi.org/simple/", "https://pypi.org/simple/"),
        ("https://token@pypi.org:8443/simple/", "https://pypi.org:8443/simple/"),
        ("https://user:p@ss@pypi.org/simple/", "https://pypi.org/simple/"),
        ("https://pypi.org/x.whl#sha256=00", "https://pypi.org/x.whl"),
        ("https://pypi.org/x.whl?page=2", "https://pypi.org/x.whl?page=2"),
        ("http://[::1]:8080/simple/", "http://[::1]:8080/simple/"),
        ("file:///srv/wheels/x.whl", "file:///srv/wheels/x.whl"),
    ],
)
def test_a_url_is_shown_without_user_password_and_fragment(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@given(WORDS, WORDS, st.sampled_from(["pypi.org", "pypi.nvidia.com:8443", "127.0.0.1"]))
def test_no_password_is_left_whatever_it_is_made_of(user: str, password: str, host: str) -> None:
    url = f"https://{quote(user, safe='')}:{quote(password, safe='')}@{host}/simple/"
    assert without_secrets(url) == f"https://{host}/simple/"


@given(WORDS, WORDS)
def test_showing_a_shown_url_changes_nothing(path: str, query: str) -> None:
    url = f"https://user:word@pypi.org/{quote(path)}?{quote(query)}#part"
    shown = without_secrets(url)
    assert without_secrets(shown) == shown
    assert urlsplit(shown).query == quote(query)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://pypi.org/a/b/x-1.0-py3-none-any.whl", "x-1.0-py3-none-any.whl"),
        ("https://pypi.org/x-1.0%2Bcu128-py3-none-any.whl", "x-1.0+cu128-py3-none-any.whl"),
        ("https://pypi.org/x-1.0.tar.gz?signature=a/b#sha256=00", "x-1.0.tar.gz"),
        ("https://pypi.org/simple/", ""),
    ],
)
def test_the_file_name_is_the_decoded_last_segment(url: str, name: str) -> None:
    assert file_name(url) == name


@pytest.mark.parametrize("url", ["https://pypi.org/x.whl", "http://127.0.0.1:1/x", "HTTPS://a/b"])
def test_what_comes_over_http_is_to_fetch(url: str) -> None:
    assert is_remote(url)


@pytest.mark.parametrize("url", [None, "", "x.whl", "file:///srv/x.whl", "git+https://a/b", "C:/x"])
def test_a_file_of_this_machine_is_not_to_fetch(url: str | None) -> None:
    assert not is_remote(url)


@pytest.mark.parametrize(
    "other",
    [
        "https://pypi.org:443/",
        "https://user:word@pypi.org/simple/#x",
        "https://PyPI.org/x?y",
    ],
)
def test_one_server_is_one_origin(other: str) -> None:
    assert origin(other) == origin("https://pypi.org/simple/")


@pytest.mark.parametrize(
    "other",
    [
        "http://pypi.org/",
        "https://pypi.org:8443/",
        "https://pypi.org.evil.example/",
        "https://files.pypi.org/",
        "https://pypi.org@evil.example/",
        "https://evil.example/https://pypi.org/",
    ],
)
def test_another_scheme_host_or_port_is_another_origin(other: str) -> None:
    assert origin(other) != origin("https://pypi.org/simple/")


def login(index: str, user: str, password: str) -> Login:
    """A login, in short."""
    return Login(index=index, user=user, password=password)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://index.test/simple/", None),
        ("", None),
        ("https://me:secret@index.test/a/", login("https://index.test/a/", "me", "secret")),
        ("https://token@index.test/", login("https://index.test/", "token", "")),
        ("https://:secret@index.test/", login("https://index.test/", "", "secret")),
        ("https://me%40x:p%3Aw%2F@index.test/", login("https://index.test/", "me@x", "p:w/")),
    ],
)
def test_a_login_in_a_url_belongs_to_its_index(url: str, found: Login | None) -> None:
    assert login_in(url) == found


@given(WORDS, WORDS)
def test_a_login_comes_out_of_a_url_as_it_went_in(user: str, password: str) -> None:
    url = f"https://{quote(user, safe='')}:{quote(password, safe='')}@index.test/simple/"
    assert login_in(url) == login("https://index.test/simple/", user, password)


A, AB = login("https://h.test/a/simple", "u", "of-a"), login("https://h.test/a/b/simple", "u", "b")
OTHER = login("https://h.test:8443/c/simple", "u", "of-c")


@pytest.mark.parametrize(
    ("url", "index", "found"),
    [
        ("https://h.test/a/simple/demo/", None, A),
        ("https://h.test/a/b/simple/demo/", None, AB),
        ("https://h.test:443/a/b/simple/demo/", "https://h.test/a/simple", AB),
        ("https://h.test/files/demo.whl", "https://h.test/a/simple/", A),
        ("https://h.test/files/demo.whl", "https://h.test/a/b/simple", AB),
        ("https://h.test/a/files/demo.whl", None, A),
        ("https://h.test/a/b/files/demo.whl", None, AB),
        ("https://h.test/a/b/files/demo.whl", "https://h.test/a/simple", A),
        ("https://h.test/ab/simple/demo/", None, None),
        ("https://h.test/files/demo.whl", None, None),
        ("https://h.test/files/demo.whl", "https://h.test:8443/c/simple", None),
        ("https://h.test:8443/files/demo.whl", None, OTHER),
        ("https://h.test:8443/files/demo.whl", "https://h.test/a/simple", OTHER),
        ("http://h.test/a/simple/demo/", "https://h.test/a/simple", None),
        ("https://elsewhere.test/a/simple/demo/", "https://h.test/a/simple", None),
    ],
)
def test_each_index_of_a_host_has_a_login_of_its_own(
    url: str, index: str | None, found: Login | None
) -> None:
    assert login_for(url, (A, AB, OTHER), index) == found


def test_the_strongest_login_of_an_index_counts() -> None:
    old = login("https://h.test/a/simple/", "u", "old")
    for url in ("https://h.test/a/simple/demo/", "https://h.test/a/x", "https://h.test/files/x"):
        assert login_for(url, (A, old)) == A


# Places


@pytest.mark.parametrize(
    "other",
    [
        "https://index.test/simple",
        "HTTPS://Index.TEST/simple/",
        "https://me:secret@index.test:443/simple/?x=1#y",
        "https://index.test",
        "https://index.test/",
    ],
)
def test_one_index_is_written_in_many_ways(other: str) -> None:
    assert is_same_index("https://index.test/simple/", other)


@pytest.mark.parametrize(
    "other",
    [
        "http://index.test/simple/",
        "https://index.test:8443/simple/",
        "https://index.test/other/simple/",
        "https://index.test/Simple/",
        "https://index.test/simple/simple/",
        "https://index.test.evil.test/simple/",
        "https://index.test@evil.test/simple/",
        "https://[bad/simple",
        "",
    ],
)
def test_another_place_is_another_index(other: str) -> None:
    assert not is_same_index("https://index.test/simple/", other)


PATHS = st.lists(st.sampled_from(["a", "simple", "%2e", "B"]), max_size=3).map("/".join)
SPELLED = st.tuples(
    st.sampled_from(["", "me@", "me:secret@"]),
    st.sampled_from(["", ":443"]),
    st.sampled_from(["", "/"]),
    st.sampled_from(["", "?q=1", "#f", "?q#f"]),
    st.booleans(),
)


@given(PATHS, SPELLED)
def test_no_spelling_of_a_url_makes_it_another_place(
    path: str, spelled: tuple[str, str, str, str, bool]
) -> None:
    user, port, slash, rest, loud = spelled
    host = "INDEX.Test" if loud else "index.test"
    url = f"https://{user}{host}{port}/{path}{slash}{rest}"
    shortest = f"https://index.test/{path}".rstrip("/")
    assert plain(url) == shortest
    assert plain(plain(url)) == plain(url)
    assert is_below(url, shortest)
    assert is_below(shortest, url)


@given(PATHS, PATHS, st.sampled_from(["c", "d/e"]))
def test_what_is_below_a_place_is_below_all_above_it(one: str, other: str, rest: str) -> None:
    place = f"https://index.test/{one}"
    below = f"{place}/{other}/{rest}"
    assert is_below(below, place)
    assert is_below(below, "https://index.test")
    assert not is_below(f"{place}-x/{rest}", place) or not one
    assert not is_below(place, f"{place}/{rest}")


@given(st.text(max_size=40), st.text(max_size=40))
def test_places_are_compared_whatever_they_are_made_of(one: str, other: str) -> None:
    assert is_same_index(one, one)
    assert is_same_index(one, other) == is_same_index(other, one)
    assert is_open(one, [other]) in {True, False}


@pytest.mark.parametrize(
    "url",
    [
        "http://index.test/simple/",
        "HTTP://index.test/simple/",
        "http://localhost.evil.test/",
        "http://127.0.0.1.evil.test/",
        "http://127.0.0.1@evil.test/",
        "http://128.0.0.1/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://[::2]/",
        "http://2130706433/",
    ],
)
def test_plain_http_over_a_network_is_open(url: str) -> None:
    assert is_open(url, [])
    assert is_open(url, ["other.test", "https://index.test", "index.test:8080", "", "[bad"])
    assert not is_open(url, ["*"])


@pytest.mark.parametrize(
    "url",
    [
        "https://index.test/simple/",
        "http://localhost:8080/",
        "http://LOCALHOST/",
        "http://127.0.0.1/",
        "http://127.1.2.3:99/",
        "http://[::1]/",
        "file:///srv/simple/",
        "http://[bad",
    ],
)
def test_what_is_encrypted_or_stays_on_this_machine_is_not_open(url: str) -> None:
    assert not is_open(url, [])


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("index.test", "http://index.test:8080/"),
        ("Index.Test", "http://index.test/"),
        (" index.test ", "http://index.test/"),
        ("index.test:8080", "http://index.test:8080/"),
        ("index.test:80", "http://index.test/"),
        ("http://index.test", "http://index.test/"),
        ("10.0.0.1", "http://10.0.0.1/"),
        ("[fd00::1]", "http://[fd00::1]:80/"),
    ],
)
def test_an_allowed_host_is_not_open(allowed: str, url: str) -> None:
    assert not is_open(url, ["other.test", allowed])
