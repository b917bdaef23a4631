"""What lies in the store's folder, and how much of the disk it takes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.adapters._hashing import hash_all, processors
from provisioner.adapters.inventory import Inventory, Usage, usage
from provisioner.core.digest import Digest

ROOT = Path(__file__).parents[2]
HASHING = """
import sys
from pathlib import Path
from provisioner.adapters._hashing import hash_all

for _ in range(20):
    list(hash_all([Path(sys.argv[1])], threads=1))
"""
DIGEST = Digest.parse("ab" * 32)


def put(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_links_within_count_once_and_links_elsewhere_are_shared(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    alone = put(inside / "alone", b"x" * 10)
    twice = put(inside / "deep" / "one", b"x" * 200)
    (inside / "two").hardlink_to(twice)
    cached = put(outside / "cached", b"x" * 3000)
    (inside / "deep" / "linked").hardlink_to(cached)

    assert usage([inside]) == Usage(files=3, bytes=3210, shared=3000)
    assert usage([alone]) == Usage(files=1, bytes=10, shared=0)
    assert usage([twice]) == Usage(files=1, bytes=200, shared=200)
    assert usage([inside, inside / "deep"]).bytes == 3210
    assert usage([tmp_path]) == Usage(files=3, bytes=3210, shared=0)


def test_a_link_is_no_way_out_of_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "outside" / "large", b"x" * 1000)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "outside")

    assert usage([inside]).bytes < 1000
    assert usage([tmp_path / "nothing"]) == Usage()


def test_only_names_that_are_digests_in_their_folder_are_blobs(tmp_path: Path) -> None:
    folder = tmp_path / "blobs" / "sha256"
    put(folder / "ab" / DIGEST.hex, b"12")
    put(folder / "cd" / DIGEST.hex)
    put(folder / "ab" / f".{DIGEST.hex}.aaaaaaaaaaaa")
    put(folder / "ab" / "readme")

    assert [(digest, found.st_size) for digest, found in Inventory(tmp_path).blobs()] == [
        (DIGEST, 2)
    ]


def test_an_empty_store_has_nothing(tmp_path: Path) -> None:
    inventory = Inventory(tmp_path / "store")

    assert list(inventory.blobs()) == []
    assert inventory.environments() == ()
    assert inventory.parts() == ()
    assert (list(inventory.pages()), list(inventory.page_bodies())) == ([], [])
    assert list(inventory.staged()) == []
    inventory.empty_trash()
    assert inventory.remove_claim_locks() == 0


def test_environments_come_with_what_their_mark_tells(tmp_path: Path) -> None:
    envs = tmp_path / "envs"
    for name in ("finished", "older", "odd", "unfinished"):
        (envs / name).mkdir(parents=True)
    put(envs / "finished.json", f'{{"project": "/p", "blobs": ["{DIGEST}"]}}'.encode())
    put(envs / "older.json", b'{"project": "/p", "profile": "cu12"}')
    put(envs / "odd.json", b"[")
    put(envs / "lost.json", b"{}")
    inventory = Inventory(tmp_path)

    found = {item.path.name: item.mark for item in inventory.environments()}
    assert set(found) == {"finished", "older", "odd", "unfinished"}
    assert found["unfinished"] is None
    assert found["finished"] is not None
    assert (found["finished"].folder, found["finished"].blobs) == ("/p", frozenset({DIGEST}))
    assert found["older"] is not None
    assert (found["older"].profile, found["older"].blobs) == ("cu12", None)
    assert found["odd"] is not None
    assert found["odd"].folder is None
    assert [path.name for path in inventory.lost_marks()] == ["lost.json"]


def test_parts_are_told_by_their_key_without_locks(tmp_path: Path) -> None:
    for name in (f"{DIGEST}.part", f"{DIGEST}.0011.journal", f"{DIGEST}.lock", "odd.part"):
        put(tmp_path / "partial" / name)
    os.utime(tmp_path / "partial" / f"{DIGEST}.part", (5, 5))
    os.utime(tmp_path / "partial" / f"{DIGEST}.0011.journal", (7, 7))

    parts = {part.key: part for part in Inventory(tmp_path).parts()}
    assert set(parts) == {DIGEST.hex, ""}
    assert len(parts[DIGEST.hex].paths) == 2
    assert parts[DIGEST.hex].changed == 7.0
    assert Inventory(tmp_path).remove_claim_locks() == 1
    assert not (tmp_path / "partial" / f"{DIGEST}.lock").exists()


def test_files_without_their_name_yet_are_found_in_every_folder(tmp_path: Path) -> None:
    names = (
        ".VERSION.0123456789ab",
        "roots/.x.json.0123456789ab",
        "records/ab/.x.json.0123456789ab",
        "pages/.x.0011.0123456789abcdef",
    )
    for name in (*names, "pages/.gitignore", "pages/whole.json", "envs/a/.x.0123456789ab"):
        put(tmp_path / name)

    found = {str(path.relative_to(tmp_path)) for path, _ in Inventory(tmp_path).staged()}
    assert found == set(names)


def test_what_is_thrown_away_is_gone_at_once_and_deleted_later(tmp_path: Path) -> None:
    inventory = Inventory(tmp_path)
    put(tmp_path / "envs" / "one" / "lib" / "file", b"12345")
    put(tmp_path / "blob", b"123")

    for name in ("envs/one", "blob"):
        thrown = inventory.throw_away(tmp_path / name)
        assert thrown is not None
        assert thrown.exists()
        assert not (tmp_path / name).exists()
        assert inventory.throw_away(tmp_path / name) is None
    inventory.empty_trash()
    assert list((tmp_path / "trash").iterdir()) == []


@given(sizes=st.lists(st.integers(0, 1 << 16), max_size=6), threads=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_every_file_gets_its_own_hash_in_order(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], threads: int
) -> None:
    import hashlib

    folder = tmp_path_factory.mktemp("hashed")
    contents = [os.urandom(size) for size in sizes]
    paths = [put(folder / str(number), content) for number, content in enumerate(contents)]

    for steady in (paths, []):
        assert list(hash_all(paths, threads=threads, steady=steady)) == [
            hashlib.sha256(content).hexdigest() for content in contents
        ]


@pytest.mark.parametrize("more", [-1, 0, 1, (8 << 20) + 5])
def test_a_file_larger_than_a_window_is_hashed_as_a_whole(tmp_path: Path, more: int) -> None:
    import hashlib

    content = os.urandom((8 << 20) + more)

    path = put(tmp_path / "large", content)
    (found,) = hash_all([path], threads=processors(), steady=[path])
    assert found == hashlib.sha256(content).hexdigest()


def test_a_file_that_is_cut_off_while_it_is_hashed_ends_no_process(tmp_path: Path) -> None:
    path = put(tmp_path / "large", b"x" * (32 << 20))
    hashing = subprocess.Popen([sys.executable, "-c", HASHING, str(path)], cwd=ROOT)
    while hashing.poll() is None:
        os.truncate(path, 0)
        os.truncate(path, 32 << 20)
        time.sleep(0.003)

    assert hashing.returncode == 0


def test_what_cannot_be_read_is_told_and_a_link_is_not_followed(tmp_path: Path) -> None:
    good = put(tmp_path / "good", b"content")
    (tmp_path / "link").symlink_to(good)

    paths = [tmp_path / "none", tmp_path / "link", tmp_path, good]
    found = list(hash_all(paths, threads=2))
    assert [isinstance(item, OSError) for item in found] == [True, True, True, False]
