"""Records come back as they were written, and anything else is refused."""

from __future__ import annotations

import json
import stat

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from provisioner.core.blob_record import BlobRecord, Built, Origin, merged, record_from_json
from provisioner.core.damage import fault_of
from provisioner.core.digest import Digest

DIGEST = Digest.parse("ab" * 32)
OTHER = "cd" * 32

digests = st.binary(min_size=32, max_size=32).map(lambda raw: Digest.parse(raw.hex()))
numbers = st.integers(0, 2**63)
records = st.builds(
    BlobRecord,
    origins=st.lists(
        st.builds(Origin, name=st.text(), url=st.text(), index=st.none() | st.text())
    ).map(tuple),
    fetched=st.none() | st.floats(0, 1e12),
    stamp=st.none() | st.tuples(numbers, numbers, numbers, numbers),
    needs=st.frozensets(digests, max_size=3),
)


@given(record=records)
def test_a_record_comes_back_as_it_was_written(record: BlobRecord) -> None:
    assert record_from_json(json.loads(json.dumps(record.to_json()))) == record


@given(
    key=st.sampled_from(["origins", "fetched", "stamp", "needs"]),
    value=st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=3),
)
@example(key="fetched", value="nan")
@example(key="fetched", value=10**400)
def test_a_record_is_read_or_refused_whatever_stands_in_it(key: str, value: object) -> None:
    data = BlobRecord(stamp=(1, 2, 3, 4)).to_json() | {key: value}
    try:
        record = record_from_json(data)
    except (AttributeError, KeyError, TypeError, ValueError):
        return
    assert record_from_json(json.loads(json.dumps(record.to_json()))) == record


@pytest.mark.parametrize(
    ("found", "size", "mode", "fault"),
    [
        (DIGEST.hex, 10, 0o444, None),
        (DIGEST.hex, 10, 0o644, "writable"),
        (DIGEST.hex, 10, 0o446, "writable"),
        (OTHER, 10, 0o444, "wrong-hash"),
        (OTHER, 11, 0o644, "wrong-hash"),
        (OTHER, 9, 0o444, "truncated"),
    ],
)
def test_a_fault_is_told_with_both_values(
    found: str, size: int, mode: int, fault: str | None
) -> None:
    told = fault_of(DIGEST, found, (size, 1, 1, mode), (10, 1, 1, stat.S_IRUSR))

    assert (told and told[0]) == fault
    if told:
        assert told[1].startswith("expected ")
        assert ", got " in told[1]


def test_without_a_record_a_shorter_file_has_only_the_wrong_hash() -> None:
    told = fault_of(DIGEST, OTHER, (9, 1, 1, 0o444), None)

    assert told is not None
    assert told[0] == "wrong-hash"


def test_a_wheel_that_was_built_here_has_a_name_and_a_source() -> None:
    built = Built(name="x-1-py3-none-any.whl", source=Digest("ab" * 32))
    record = BlobRecord(built=built)
    assert record.names == ("x-1-py3-none-any.whl",)
    assert record_from_json(record.to_json()) == record
    assert merged(BlobRecord(), record).built == built


def test_a_record_from_before_wheels_were_kept_is_read() -> None:
    data = BlobRecord().to_json()
    assert "built" not in data
    assert record_from_json(data) == BlobRecord()
