"""The journal comes back as it was written, or not at all; and whose a file is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.journal import Journal, Owner, is_orphan, read_journal
from provisioner.core.ranges import Span, clipped, union

ME = Owner(host="here", boot="b1", space="pid:[1]", pid=10, started="100")
SPANS = st.lists(
    st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)).map(lambda pair: Span(*sorted(pair)))
).map(union)
OWNERS = st.builds(
    Owner, host=st.text(), boot=st.text(), space=st.text(), pid=st.integers(), started=st.text()
)


@given(st.none() | OWNERS, st.none() | st.text(), st.none() | st.integers(0, 10**12), SPANS)
def test_a_journal_comes_back_as_it_was(
    owner: Owner | None, validator: str | None, size: int | None, spans: tuple[Span, ...]
) -> None:
    flushed = clipped(spans, size or 0)
    journal = Journal(owner=owner, validator=validator, size=size, flushed=flushed)
    assert read_journal(journal.text()) == journal


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_what_is_no_journal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no journal"):
        read_journal(text)


@given(st.data())
def test_a_journal_that_was_cut_off_is_refused(data: st.DataObject) -> None:
    text = Journal(owner=ME, validator='"a"', size=10, flushed=(Span(0, 5),)).text()
    with pytest.raises(ValueError, match="no journal"):
        read_journal(text[: data.draw(st.integers(0, len(text) - 1))])


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"size": -1},
        {"size": "10"},
        {"size": True},
        {"validator": 5},
        {"flushed": [[0]]},
        {"flushed": [[-1, 5]]},
        {"flushed": [["0", "5"]]},
        {"flushed": None},
        {"owner": {}},
        {"owner": {"host": "", "boot": "", "space": "", "pid": "1", "started": ""}},
    ],
)
def test_a_journal_with_a_wrong_part_is_refused(change: dict[str, object]) -> None:
    text = Journal(owner=ME, validator='"a"', size=10, flushed=(Span(0, 5),)).text()
    with pytest.raises(ValueError, match="no journal"):
        read_journal(json.dumps({**json.loads(text), **change}))


@pytest.mark.parametrize(
    ("owner", "locked", "running", "idle", "orphan"),
    [
        (None, False, False, 0.0, True),
        # One kernel sees one lock, and the reader has it.
        (ME, True, True, 0.0, True),
        (replace(ME, space="pid:[2]"), True, False, 0.0, True),
        # Without locks the process itself tells.
        (ME, False, True, 1e6, False),
        (ME, False, False, 0.0, True),
        # Another container of this machine, or another machine: only time tells.
        (replace(ME, space="pid:[2]"), False, False, 5.0, False),
        (replace(ME, space="pid:[2]"), False, False, 500.0, True),
        (replace(ME, host="there", boot="b2"), True, False, 5.0, False),
        (replace(ME, host="there", boot="b2"), True, False, 500.0, True),
        # This machine, before it was started again.
        (replace(ME, boot="b0"), False, True, 0.0, True),
    ],
)
def test_a_file_is_taken_over_only_from_who_is_gone(
    owner: Owner | None, *, locked: bool, running: bool, idle: float, orphan: bool
) -> None:
    found = is_orphan(owner, ME, locked=locked, running=running, idle_seconds=idle)
    assert found == orphan


def test_where_a_system_tells_nothing_of_its_starts_the_host_says_which_machine() -> None:
    me = replace(ME, boot="", space="", started="")
    other = replace(me, host="there")
    assert is_orphan(me, me, locked=False, running=False, idle_seconds=0.0)
    assert not is_orphan(other, me, locked=True, running=False, idle_seconds=0.0)
