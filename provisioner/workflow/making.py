"""Make several environments, as many at once as there are processors."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.adapters._hashing import processors
from provisioner.adapters.environment import discard
from provisioner.core.beside import likely_bytes, startable
from provisioner.workflow.environments import make

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.core.digest import Digest
    from provisioner.core.history import Prepared
    from provisioner.workflow.environments import Order
    from provisioner.workflow.workshop import Workshop
    from provisioner.workflow.world import World


def make_all(world: World, workshop: Workshop, orders: Sequence[Order]) -> tuple[Prepared, ...]:
    """A new environment for each order, in their order: all of them, or none.

    uv unpacks on one processor, so that several of them are at it, where they do not have to
    unpack the same.

    Raises:
        GpuenvError: uv fails for one of them, or what it needs cannot be had; the others are
            stopped.
    """
    if not orders:
        return ()
    if workshop.link_mode == "copy":
        world.note_once("uv copies from its cache into environments, which takes room for each")
    running: dict[Future[Prepared], int] = {}
    made: dict[int, Prepared] = {}
    # Two in any case: one may wait for its files while the other one unpacks.
    workers = min(len(orders), max(2, processors()))
    with workshop.building() as uv, ThreadPoolExecutor(workers) as pool:

        def make_one(order: Order) -> Prepared:
            workshop.pull.check()
            world.progress.note(f"making the environment of `{order.profile}`")
            return make(world, workshop, uv, order)

        try:
            needs = [_needs(workshop, order) for order in orders]
            waiting = list(range(len(orders)))
            while waiting or running:
                for number in startable(needs, waiting, running.values(), made):
                    waiting.remove(number)
                    running[pool.submit(make_one, orders[number])] = number
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    made[running[future]] = future.result()
                    del running[future]
        except BaseException:
            uv.stop()
            pool.shutdown(cancel_futures=True)
            others = (one for one in running if not one.cancelled() and one.exception() is None)
            for item in (*made.values(), *(one.result() for one in others)):
                discard(Path(item.environment))
            raise
    return tuple(made[number] for number in range(len(orders)))


def _needs(workshop: Workshop, order: Order) -> dict[Digest, int]:
    store = workshop.store
    return {
        file.digest: likely_bytes(file.name, file.likely_size or store.size(file.digest) or None)
        for file in order.files
    }
