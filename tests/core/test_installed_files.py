"""What a `RECORD` tells of installed files, and when a file is in doubt."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.installed_files import (
    UNPACKING_NANOSECONDS,
    FileDamage,
    Row,
    latest_times,
    rows_of,
    told,
    told_hash,
)

UP = 3


def rows(text: str) -> list[Row]:
    return list(rows_of(text, UP))


def test_a_row_tells_path_hash_and_size() -> None:
    text = 'a/b.py,sha256=abc,5\r\n"a, b.py",sha256=def,7\na-1.0.dist-info/RECORD,,\n'
    assert rows(text) == [
        Row("a/b.py", "sha256=abc", 5),
        Row("a, b.py", "sha256=def", 7),
        Row("a-1.0.dist-info/RECORD", "", None),
    ]


def test_a_name_may_have_a_line_end() -> None:
    assert rows('"a\nb.py",,3\nc.py,,\n') == [Row("a\nb.py", "", 3), Row("c.py", "", None)]


def test_byte_code_does_not_count() -> None:
    assert rows("a/__pycache__/b.cpython-311.pyc,,\na/b.py,,\n") == [Row("a/b.py", "", None)]
    assert rows("a/b.pyc,,7\n") == [Row("a/b.pyc", "", 7)]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("../../../bin/tool", "../../../bin/tool"),
        ("../../../../etc/passwd", None),
        ("a/../../../../../etc/passwd", None),
        ("/etc/passwd", None),
        ("//etc/passwd", None),
        ("./a//b.py", "a/b.py"),
        ("..a/b.py", "..a/b.py"),
    ],
)
def test_what_lies_outside_of_the_environment_is_left_alone(path: str, found: str | None) -> None:
    assert [row.path for row in rows(f"{path},,\n")] == ([found] if found else [])


@given(st.text(alphabet="./a", min_size=1, max_size=30))
def test_no_path_leads_out_of_the_environment(path: str) -> None:
    for row in rows(f"{path},,\n"):
        assert not row.path.startswith(("/", "../../../../"))


@pytest.mark.parametrize("text", ["", "\n", "a.py,,many\n"])
def test_what_is_no_record_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        rows(text)


@given(st.binary(), st.sampled_from(["sha256", "sha384", "sha512"]))
def test_a_hash_is_read_as_installers_write_it(content: bytes, name: str) -> None:
    digest = hashlib.new(name, content).digest()
    text = f"{name}={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
    assert told_hash(text) == (name, digest.hex())


@pytest.mark.parametrize("text", ["", "sha256", "sha256=", "sha256=é", "=abcd"])
def test_what_is_no_hash_is_none(text: str) -> None:
    assert told_hash(text) is None


def test_a_shared_file_may_be_as_old_as_its_wheel_and_an_own_one_as_the_record() -> None:
    made, unpacked = 10**18, 10**17
    assert latest_times(made, unpacked) == (made, unpacked + UNPACKING_NANOSECONDS)
    assert latest_times(made, made) == (made, made)
    assert latest_times(made, None) == (made, made)


def test_of_very_many_files_some_are_told_and_the_rest_counted() -> None:
    damage = [FileDamage(package="a", path=f"{n}.py", fault="missing") for n in range(12)]
    lines = told(damage)
    assert lines[0] == "`0.py` of `a` is gone"
    assert lines[-1] == "and 2 more files"
    assert told(damage[:10]) == tuple(item.message for item in damage[:10])
