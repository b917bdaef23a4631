"""URLs as they are compared and shown."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.urls import file_name, without_secrets

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=12)


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
