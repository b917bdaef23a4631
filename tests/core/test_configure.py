"""What has to stand in settings so that nothing is fetched twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.configure import (
    WANTED,
    Entry,
    comes_again,
    diff,
    hidden,
    index_entries,
    is_right_by_itself,
    missing_terms,
    pip_edits,
    plain_indexes,
    rule_for,
)
from provisioner.core.profile import CacheControl, Index

BOTH = {"api": "max-age=600", "files": "max-age=365000000, immutable"}
FILES = {"files": BOTH["files"]}


@pytest.mark.parametrize(
    ("header", "has_validator", "again"),
    [
        ("max-age=0, no-cache, no-store", True, True),
        ("No-Store", True, True),
        ("max-age=0, no-cache", True, False),
        ("max-age=0, no-cache", False, True),
        ("max-age=600", False, False),
        ("x-no-store=1", True, False),
        ("", False, False),
    ],
)
def test_what_may_not_be_stored_or_cannot_be_revalidated_comes_again(
    header: str, *, has_validator: bool, again: bool
) -> None:
    assert comes_again(header, has_validator=has_validator) is again


@pytest.mark.parametrize(
    ("control", "terms"),
    [
        (CacheControl(), BOTH),
        (CacheControl(api="max-age=5"), FILES),
        (CacheControl(api="max-age=5", files="no-store"), FILES),
        (CacheControl(files="max-age=0, no-cache"), {}),
        (CacheControl(files="max-age=5"), {}),
        (CacheControl(files=WANTED.files), {}),
    ],
)
def test_a_term_of_the_users_stays_unless_files_would_come_again(
    control: CacheControl, terms: dict[str, str]
) -> None:
    entry = Entry(position=0, name="one", url="https://one.test/", control=control)
    assert missing_terms(entry) == terms


def test_indexes_are_read_with_their_places_and_nonsense_is_left_to_uv() -> None:
    settings = {
        "index": [
            {"name": "local", "url": "./wheels"},
            "nonsense",
            {"url": "https://one.test/", "cache-control": {"files": "max-age=1", "api": "a\nb"}},
        ],
        "index-url": "https://two.test/",
        "extra-index-url": ["https://three.test/", 4, "/folder"],
    }
    (entry,) = index_entries(settings)
    assert (entry.position, str(entry)) == (2, "`https://one.test/`")
    assert entry.control == CacheControl(files="max-age=1")
    assert list(plain_indexes(settings)) == [
        ("index-url", "https://two.test/"),
        ("extra-index-url", "https://three.test/"),
    ]
    assert list(index_entries({"index": 1})) == []


def test_profiles_decide_before_the_shipped_rules_and_pypi_needs_none() -> None:
    own = Index(
        name="own",
        url="https://pypi.nvidia.com",
        cache_control=CacheControl(files="max-age=5"),
    )
    silent = Index(name="silent", url="https://pypi.nvidia.com/")
    assert rule_for("https://pypi.nvidia.com/", [silent, own]) == own
    found = rule_for("https://download.pytorch.org/whl/cu126", [])
    assert found is not None
    assert found.name == "pytorch"
    assert rule_for("https://pypi.nvidia.com.evil.test/", []) is None
    assert rule_for("https://pypi.org/simple", []) is None
    assert is_right_by_itself("https://pypi.org/simple")
    assert not is_right_by_itself("https://pypi.nvidia.com/")


def test_pip_is_to_keep_what_it_fetches_and_to_ask_what_was_named() -> None:
    sections = {
        "global": {"no_cache_dir": "false", "index-url": "https://a.test/"},
        "install": {"index_url": "https://me:word@b.test/"},
    }
    edits = list(pip_edits(sections, "http://127.0.0.1:8199/simple/"))
    assert [(item.section, item.option, item.value) for item in edits] == [
        ("global", "no_cache_dir", None),
        ("global", "index-url", "http://127.0.0.1:8199/simple/"),
        ("install", "index_url", "http://127.0.0.1:8199/simple/"),
    ]
    assert list(pip_edits({"global": {"timeout": "60"}}, None)) == []
    (added,) = pip_edits({}, "https://me:word@b.test/")
    assert (added.section, added.option) == ("global", "index-url")
    assert "word" not in added.change.what


def test_a_diff_shows_no_password_and_says_where_the_last_line_has_no_end() -> None:
    before = 'index-url = "https://me:word@one.test/"'
    shown = diff(before, f"{before}\nmore = 1\n", "uv.toml")
    assert shown.startswith("--- a/uv.toml\n+++ b/uv.toml\n")
    assert "word" not in shown
    assert '-index-url = "https://***@one.test/"\n\\ No newline at end of file\n' in shown
    assert "+more = 1\n" in shown
    assert diff(before, before, "uv.toml") == ""


@given(st.from_regex(r"[a-z]{1,8}:[a-zA-Z0-9%.+@:]{1,12}", fullmatch=True), st.text())
def test_no_password_of_a_url_is_shown(login: str, around: str) -> None:
    shown = hidden(f"{around}https://{login}@host.test/{around}")
    assert f"{login}@" not in shown
    assert shown.startswith(f"{hidden(around)}https://***@host.test/")
