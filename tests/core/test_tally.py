"""What is told of progress adds up, and its pace is that of what comes now."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.sizes import amount_text, rate_text, size_text, time_text
from provisioner.core.tally import Pace, Tally

MB = 1_000_000
COUNTS = st.integers(0, 10 * MB)


def fetched(rate: int, seconds: int, *, start: float = 0.0) -> Pace:
    """What came at a steady rate, told once a second."""
    pace = Pace().more(0, start)
    for second in range(1, seconds + 1):
        pace = pace.more(rate, start + second)
    return pace


@given(rate=st.integers(1, 10**9), seconds=st.integers(1, 60))
def test_a_steady_rate_is_told_as_it_is(rate: int, seconds: int) -> None:
    assert fetched(rate, seconds).rate(float(seconds)) == pytest.approx(rate)


def test_before_a_second_has_passed_there_is_no_rate() -> None:
    pace = Pace().more(0, 0.0).more(MB, 0.5)
    assert Pace().rate(0.0) is None
    assert pace.rate(0.9) is None
    assert pace.rate(1.0) == MB


def test_a_rate_forgets_what_was_long_ago() -> None:
    pace = fetched(100 * MB, 20)
    for second in range(21, 41):
        pace = pace.more(MB, float(second))
    assert pace.rate(40.0) == pytest.approx(MB)


def test_while_nothing_comes_the_rate_falls_to_nothing() -> None:
    pace = fetched(MB, 5)
    falling = [pace.rate(5.0 + pause) for pause in (0.0, 2.0, 4.0, 30.0)]
    assert falling == sorted(falling, key=lambda rate: -(rate or 0.0))
    assert (falling[0], falling[-1]) == (MB, 0.0)


def test_silence_is_no_part_of_the_rate_of_what_comes_after_it() -> None:
    pace = fetched(MB, 5).more(MB, 100.0)
    assert pace.rate(100.5) is None
    for second in range(101, 105):
        pace = pace.more(MB, float(second))
    assert pace.rate(104.0) == MB


@given(st.lists(st.tuples(COUNTS, st.floats(0.0, 3.0)), max_size=200))
def test_however_often_it_is_told_few_samples_are_kept(steps: list[tuple[int, float]]) -> None:
    pace, now = Pace(), 0.0
    for count, pause in steps:
        now += pause
        pace = pace.more(count, now)
    assert pace.came == sum(count for count, _ in steps)
    assert len(pace.samples) <= 42
    rate = pace.rate(now)
    assert rate is None or rate >= 0


def test_what_was_there_before_is_done_but_no_part_of_the_rate() -> None:
    tally = Tally().planned({"a": 100 * MB}, 0.0).started("a", "a.whl", 100 * MB, 0.0)
    tally = tally.has("a", 60 * MB)
    for second in range(1, 5):
        tally = tally.advanced("a", 5 * MB, float(second))
    assert tally.there == 80 * MB
    assert tally.pace.rate(4.0) == 5 * MB
    assert tally.left(4.0) == 4.0
    assert tally.line(4.0) == "fetched 80.0 of 100.0 MB, 5.0 MB/s, 0:04 left"


def test_a_file_that_starts_over_takes_its_bytes_back() -> None:
    tally = Tally().started("a", "a.whl", 10 * MB, 0.0).advanced("a", 8 * MB, 2.0)
    tally = tally.started("a", "a.whl", 10 * MB, 2.0).has("a", 0).advanced("a", MB, 3.0)
    assert tally.there == MB
    # These bytes came all the same.
    assert tally.pace.came == 9 * MB


def test_what_another_process_fetches_counts_and_is_said() -> None:
    tally = Tally().planned({"a": 50 * MB, "b": 50 * MB}, 0.0)
    tally = tally.started("a", "a.whl", None, 0.0, is_others=True).has("a", 10 * MB)
    tally = tally.advanced("a", 10 * MB, 10.0)
    assert tally.line(10.0) == (
        "fetched 20.0 of 100.0 MB, 1.0 MB/s, 1:20 left, another process fetches a file of them"
    )
    assert "another" not in tally.finished("a").line(10.0)


def test_as_long_as_a_size_is_unknown_files_are_counted() -> None:
    tally = Tally().planned({"a": None, "b": 10 * MB}, 0.0).finished("b")
    assert tally.size is None
    assert tally.left(5.0) is None
    assert tally.line(5.0) == "fetched 10.0 MB, 1 of 2 files, 0 bytes/s"
    known = tally.started("a", "a.whl", 30 * MB, 5.0)
    assert known.size == 40 * MB


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["started", "has", "advanced", "finished"]),
        st.sampled_from(["a", "b", "c"]),
        COUNTS,
    ),
    max_size=40,
)


@given(STEPS)
def test_in_whatever_order_things_are_told_everything_is_there_in_the_end(
    steps: list[tuple[str, str, int]],
) -> None:
    tally = Tally().planned({"a": 3 * MB, "b": None}, 0.0)
    for second, (what, key, count) in enumerate(steps):
        if what == "started":
            tally = tally.started(key, f"{key}.whl", 5 * MB, float(second))
        elif what == "has":
            tally = tally.has(key, count)
        elif what == "advanced":
            tally = tally.advanced(key, count, float(second))
        else:
            tally = tally.finished(key)
        assert tally.there >= 0
        assert tally.line(float(second)).startswith("fetched ")
    for key in tally.files:
        tally = tally.finished(key)
    assert not tally.is_busy
    assert tally.size == tally.there
    assert tally.finished("never planned") == tally


@pytest.mark.parametrize(
    ("done", "size", "text"),
    [
        (1_200_000_000, 4_100_000_000, "1.2 of 4.1 GB"),
        (0, 999_960, "0.0 of 1.0 MB"),
        (3, 10, "3 of 10 bytes"),
        (5 * MB, None, "5.0 MB"),
        (7 * MB, 5 * MB, "7.0 of 7.0 MB"),
    ],
)
def test_amounts_have_the_unit_of_the_whole(done: int, size: int | None, text: str) -> None:
    assert amount_text(done, size) == text


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_an_amount_ends_as_the_size_alone(done: int, size: int) -> None:
    assert amount_text(done, size).endswith(f" of {size_text(max(done, size))}")


@pytest.mark.parametrize(
    ("rate", "text"),
    [(38_400_000.0, "38 MB/s"), (1_250_000.0, "1.2 MB/s"), (0.0, "0 bytes/s"), (9.6, "10 bytes/s")],
)
def test_rates_have_few_digits(rate: float, text: str) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(75.2, "1:15"), (0.0, "0:00"), (3600.0, "1:00:00"), (59.9, "1:00")]
)
def test_times_are_minutes_and_seconds(seconds: float, text: str) -> None:
    assert time_text(seconds) == text
