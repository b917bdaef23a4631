"""What is refused could not have worked, and what is told adds up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.room import (
    Amount,
    FileSystem,
    Need,
    Parcel,
    Unpacked,
    is_plenty,
    refuse_shortage,
    rooms,
    to_fetch,
    to_link,
    to_unpack,
)
from provisioner.errors import STORE_FULL, SpaceError

MB = 1_000_000
GB = 1000 * MB
SIZES = st.integers(0, 10 * GB)
UNPACKED = st.builds(
    Unpacked, bytes=SIZES, files=st.integers(3, 20_000), folders=st.integers(1, 500)
)
PARCELS = st.builds(
    Parcel,
    size=st.none() | SIZES,
    arrived=SIZES,
    is_held=st.booleans(),
    is_wheel=st.booleans(),
    unpacked=st.none() | UNPACKED,
)


def disk(
    device: int = 1, free: int = GB, inodes: int | None = 1000, kind: str = "ext4"
) -> FileSystem:
    """A file system."""
    return FileSystem(
        device=device, point=f"/{device}", kind=kind, free_bytes=free, free_inodes=inodes
    )


def need(place: str, size: int = 0, inodes: int = 0, what: str = "to fetch") -> Need:
    """A need that is known for sure."""
    amount = Amount(bytes=size, inodes=inodes)
    return Need(what=what, place=place, likely=amount, least=amount)


def is_refused(needs: list[Need], systems: dict[str, FileSystem]) -> bool:
    try:
        refuse_shortage(rooms(needs, systems), "/store")
    except SpaceError:
        return True
    return False


@given(st.lists(st.tuples(st.sampled_from("abc"), SIZES, st.integers(0, 2000)), max_size=8), SIZES)
def test_it_is_refused_where_and_only_where_a_file_system_cannot_do(
    wanted: list[tuple[str, int, int]], free: int
) -> None:
    # `a` and `b` are two folders on one file system.
    systems = {"a": disk(1, free), "b": disk(1, free), "c": disk(2, free, inodes=None)}
    needs = [need(place, size, inodes) for place, size, inodes in wanted]
    first = [one for one in wanted if one[0] in "ab"]
    others = [one for one in wanted if one[0] == "c"]
    expected = (
        sum(size for _, size, _ in first) > free
        or sum(inodes for _, _, inodes in first) > 1000
        or sum(size for _, size, _ in others) > free
    )
    assert is_refused(needs, systems) == expected


@given(
    parcels=st.lists(PARCELS),
    is_empty=st.booleans(),
    copies=st.booleans(),
    compressing=st.booleans(),
)
def test_at_least_is_never_more_than_what_all_of_it_is_once_it_is_there(
    parcels: list[Parcel], *, is_empty: bool, copies: bool, compressing: bool
) -> None:
    held = [one for one in parcels if one.is_held and one.is_wheel and one.unpacked]
    real = sum(one.unpacked.bytes for one in held if one.unpacked)
    unpacking = to_unpack("cache", held, is_empty=is_empty, compressing=compressing)
    linking = to_link("envs", [held], copies=copies, compressing=compressing)
    assert unpacking.least.bytes <= unpacking.likely.bytes == real
    assert linking.least.bytes <= linking.likely.bytes == (real if copies else 0)
    assert linking.least.inodes <= linking.likely.inodes


@given(st.lists(PARCELS))
def test_what_has_arrived_of_a_file_is_not_needed_again(parcels: list[Parcel]) -> None:
    found = to_fetch("store", parcels)
    missing = [one for one in parcels if not one.is_held]
    assert found.least.bytes == sum(max(0, (one.size or 0) - one.arrived) for one in missing)
    assert found.least.inodes == len(missing)


@given(parcels=st.lists(PARCELS), compressing=st.booleans())
def test_of_what_uv_may_have_unpacked_already_nothing_is_needed_for_sure(
    parcels: list[Parcel], *, compressing: bool
) -> None:
    held = [one for one in parcels if one.is_held]
    found = to_unpack("cache", held, is_empty=False, compressing=compressing)
    assert found.least == Amount()


def test_a_wheel_that_is_missing_takes_at_least_its_own_size_unpacked() -> None:
    parcel = Parcel(size=100 * MB)
    found = to_unpack("cache", [parcel], is_empty=False, compressing=True)
    assert found.least == Amount(bytes=100 * MB, inodes=4)
    assert found.likely.bytes == 163 * MB


def test_where_files_are_compressed_a_wheel_may_take_no_more_than_packed() -> None:
    parcel = Parcel(
        size=100 * MB, is_held=True, unpacked=Unpacked(bytes=250 * MB, files=10, folders=2)
    )
    sizes = [
        to_unpack("cache", [parcel], is_empty=True, compressing=one).least.bytes
        for one in (False, True)
    ]
    assert sizes == [250 * MB, 100 * MB]


def test_environments_of_links_take_folders_and_copies_take_all() -> None:
    one = Parcel(size=1, is_held=True, unpacked=Unpacked(bytes=9 * MB, files=7, folders=3))
    links = to_link("envs", [[one], [one]], copies=False, compressing=False)
    copies = to_link("envs", [[one], [one]], copies=True, compressing=False)
    assert links.likely == Amount(inodes=2 * (22 + 3))
    assert copies.likely == Amount(bytes=18 * MB, inodes=2 * (22 + 3 + 7))
    assert (links.least.bytes, copies.least.bytes) == (0, 18 * MB)


def test_a_refusal_names_every_file_system_with_both_values() -> None:
    systems = {"/store": disk(1, GB, 10), "/cache": disk(2, 3 * GB)}
    needs = [
        need("/store", 2 * GB, 20),
        need("/store", GB, what="to x"),
        need("/cache", 4 * GB, what="to unpack in uv's cache"),
    ]
    with pytest.raises(SpaceError) as caught:
        refuse_shortage(rooms(needs, systems), "/store")
    assert caught.value.exit_code == 5
    assert caught.value.causes == (
        "`/1` (`ext4`): needed are at least 3.0 GB (2.0 GB to fetch, 1.0 GB to x), free are 1.0 GB",
        "`/1` (`ext4`): needed are at least 20 inodes, free are 10",
        "`/2` (`ext4`): needed are at least 4.0 GB to unpack in uv's cache, free are 3.0 GB",
    )
    assert caught.value.hint == STORE_FULL


def test_where_only_uvs_cache_is_full_the_hint_is_about_it() -> None:
    systems = {"/store": disk(1), "/cache": disk(2, 0)}
    needs = [need("/store", MB), need("/cache", MB)]
    with pytest.raises(SpaceError) as caught:
        refuse_shortage(rooms(needs, systems), "/store")
    assert "UV_CACHE_DIR" in (caught.value.hint or "")


@given(packed=st.integers(0, 1 << 40), free=st.integers(0, 1 << 50), inodes=st.integers(0, 1 << 30))
def test_what_is_plenty_is_room_for_whatever_wheels_of_that_size_hold(
    packed: int, free: int, inodes: int
) -> None:
    system = FileSystem(device=1, point="/", kind="ext4", free_bytes=free, free_inodes=inodes)
    if is_plenty(packed, system):
        files = packed // 76
        most = Unpacked(bytes=1032 * packed, files=files, folders=files)
        parcel = Parcel(size=packed, is_held=True, unpacked=most)
        need = to_unpack("/", [parcel], is_empty=True, compressing=False)
        assert need.least.bytes <= free
        assert files * 2 <= inodes
