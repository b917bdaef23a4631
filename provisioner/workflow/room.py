"""Look, before the first byte comes, whether there is room for all that is to be prepared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.adapters.file_systems import file_system_of, is_empty
from provisioner.adapters.inventory import Inventory
from provisioner.adapters.wheels import unpacked
from provisioner.core.room import Parcel, Room, is_plenty, rooms, to_fetch, to_link, to_unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioner.adapters.store import Store
    from provisioner.core.digest import Digest
    from provisioner.core.plan import FetchPlan, LockedFile
    from provisioner.workflow.environments import Order
    from provisioner.workflow.workshop import Workshop

_COPIES = "copy"
_LINKS = "hardlink"


def look_for_room(
    workshop: Workshop, plan: FetchPlan, orders: Sequence[Order], *, exactly: bool
) -> tuple[Room, ...]:
    """What is needed and free, by file system, for the files of a plan and for environments.

    A wheel that some environment of the store was made from counts as unpacked in uv's cache
    already. What else is in that cache only uv knows. Unless it has to be known `exactly`, no
    wheel is looked into where there is room for whatever may be in it.
    """
    store = workshop.store
    if not (plan.missing or orders):
        return ()
    fetch = to_fetch(str(store.root), [_parcel(store, file) for file in plan.missing])
    if not orders:
        return rooms([fetch], {fetch.place: file_system_of(store.root)})
    cache, environments = workshop.cache_folder, store.root / "envs"
    systems = {str(path): file_system_of(path) for path in (store.root, cache, environments)}
    packed = sum(store.size(file.digest) for order in orders for file in order.files)
    looks = exactly or not all(is_plenty(packed, system) for system in systems.values())
    known = {
        file.digest: _parcel(store, file, looks=looks) for order in orders for file in order.files
    }
    before = _used(store)
    new = [parcel for digest, parcel in known.items() if digest not in before]
    source, target = systems[str(cache)], systems[str(environments)]
    mode = workshop.link_mode
    needs = [
        fetch,
        to_unpack(str(cache), new, is_empty=is_empty(cache), compressing=source.compresses),
        to_link(
            str(environments),
            [[known[file.digest] for file in order.files] for order in orders],
            # Without a reflink or a hard link, also where the user has set one, uv copies.
            copies=mode == _COPIES or (mode == _LINKS and source.device != target.device),
            compressing=target.compresses,
        ),
    ]
    return rooms(needs, systems)


def bytes_to_fetch(store: Store, plan: FetchPlan) -> int:
    """Bytes of the missing files that are not there yet, as far as sizes are known."""
    return to_fetch(str(store.root), [_parcel(store, file) for file in plan.missing]).least.bytes


def sizes_to_fetch(store: Store, plan: FetchPlan) -> tuple[tuple[str, int | None, int], ...]:
    """Of each missing file its name, its size, where it is known, and bytes that are there."""
    parcels = ((file, _parcel(store, file)) for file in plan.missing)
    return tuple((file.name, parcel.size, parcel.arrived) for file, parcel in parcels)


def _parcel(store: Store, file: LockedFile, *, looks: bool = False) -> Parcel:
    is_wheel = file.name.endswith(".whl")
    if file.digest in store:
        blob = store.blob(file.digest)
        return Parcel(
            size=store.size(file.digest),
            is_held=True,
            is_wheel=is_wheel,
            unpacked=unpacked(blob) if is_wheel and looks else None,
        )
    arrived, size = store.arrived(file.digest.hex)
    likely = file.likely_size
    return Parcel(size=size if likely is None else likely, arrived=arrived, is_wheel=is_wheel)


def _used(store: Store) -> frozenset[Digest]:
    """The blobs that environments of the store were made from."""
    marks: Iterable[frozenset[Digest]] = (
        item.mark.blobs
        for item in Inventory(store.root).environments()
        if item.mark is not None and item.mark.blobs is not None
    )
    return frozenset().union(*marks)
