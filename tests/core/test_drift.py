"""What differs is told, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.drift import Difference, differences, drift_text

PACKAGES = st.dictionaries(st.sampled_from("abcdefghij"), st.sampled_from(["1", "2"]))


@given(was=PACKAGES, now=PACKAGES)
def test_the_differences_lead_from_one_to_the_other(
    was: dict[str, str], now: dict[str, str]
) -> None:
    made = dict(was)
    for item in differences(was, now):
        assert made.get(item.package) == item.was
        made.pop(item.package, None)
        if item.now is not None:
            made[item.package] = item.now
    assert made == now


@given(packages=PACKAGES)
def test_what_is_equal_has_no_differences(packages: dict[str, str]) -> None:
    assert differences(packages, dict(packages)) == ()
    assert drift_text(()) == ""


def test_each_difference_is_told_with_both_values() -> None:
    found = differences({"a": "1", "b": "1"}, {"b": "2", "c": "3"})
    assert drift_text(found) == "`a` 1 was removed, `b` is 2, was 1, `c` 3 was added"
    assert found[1] == Difference(package="b", was="1", now="2")


def test_of_many_differences_only_the_first_are_told() -> None:
    found = differences({}, dict.fromkeys("abcdefg", "1"))
    assert drift_text(found).endswith("`e` 1 was added, and 2 more")
