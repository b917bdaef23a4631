"""What is told of a lock that was made anew."""

from __future__ import annotations

import pytest

from provisioner.core.lock_changes import lock_changes

UV = '[[package]]\nname = "app"\n\n[[package]]\nname = "idna"\nversion = "{}"\n'
PYLOCK = '[[packages]]\nname = "idna"\nversion = "{}"\n'


@pytest.mark.parametrize("form", [UV, PYLOCK])
def test_a_package_in_another_version_is_told_with_both(form: str) -> None:
    (change,) = lock_changes(form.format("3.10"), form.format("3.20"))
    assert str(change) == "idna: 3.10 -> 3.20"
    assert change.to_json() == {"name": "idna", "old": ["3.10"], "new": ["3.20"]}


def test_what_came_and_what_went_is_told() -> None:
    more = UV.format("3.10") + '\n[[package]]\nname = "more"\nversion = "1.0"\n'
    assert [str(one) for one in lock_changes(UV.format("3.10"), more)] == ["more: 1.0 is new"]
    assert [str(one) for one in lock_changes(more, UV.format("3.10"))] == ["more: 1.0 is gone"]


def test_one_of_several_versions_is_told_with_all() -> None:
    fork = PYLOCK.format("1.0") + PYLOCK.format("2.0")
    (change,) = lock_changes(fork, PYLOCK.format("1.0") + PYLOCK.format("3.0"))
    assert str(change) == "idna: 1.0, 2.0 -> 1.0, 3.0"


@pytest.mark.parametrize("other", ["[[[", "packages = 3\n", "[[package]]\nversion = '1'\n"])
def test_of_equal_locks_and_of_what_is_none_nothing_is_told(other: str) -> None:
    text = UV.format("3.10")
    assert lock_changes(text, text) == ()
    assert lock_changes(text, other) == ()
    assert lock_changes(other, text) == ()
