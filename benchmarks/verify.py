"""How fast the store is verified: by stat, in files a second; by hash, beside hashing alone.

Run it with `python -m benchmarks.verify`. Hashing alone is SHA-256 over the same bytes where
they lie in memory, on as many threads as there are processors; every round runs both in
turn, so that a machine that drifts slows both.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.adapters._files import stamp_of
from provisioner.adapters._hashing import processors
from provisioner.adapters.records import Records
from provisioner.adapters.store import Store
from provisioner.core.blob_record import BlobRecord, Origin
from provisioner.core.digest import Digest
from provisioner.workflow.store_verify import store_verify
from provisioner.workflow.world import Options, World

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.workflow.store_verify import VerifyResult

ROUNDS = 5
SMALL_FILES = 20_000
LARGE_FILES = 8
LARGE_BYTES = 64 << 20

_STAT_GOAL = 10_000
_HASH_GOAL = 0.9


def main() -> None:
    """Measure, and print a row each."""
    with tempfile.TemporaryDirectory() as name:
        world = World(variables={}, home=Path(name), folder=Path(name), now=time.time)
        by_stat(world, filled(Path(name) / "small", (os.urandom(64) for _ in range(SMALL_FILES))))
        blocks = [os.urandom(LARGE_BYTES) for _ in range(LARGE_FILES)]
        by_hash(world, filled(Path(name) / "large", blocks), blocks)


def filled(root: Path, contents: Iterable[bytes]) -> Store:
    """A store with blobs, recorded as if they had been fetched."""
    store = Store(root)
    store.open()
    records = Records(root)
    for content in contents:
        digest = Digest.parse(hashlib.sha256(content).hexdigest())
        path = store.blob(digest)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o444)
        origin = Origin(name="demo-1.0-py3-none-any.whl", url="https://index.test/demo")
        record = BlobRecord(origins=(origin,), fetched=time.time(), stamp=stamp_of(path))
        note = records.path(digest)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(record.to_json()), "utf-8")
    return store


def by_stat(world: World, store: Store) -> None:
    """Files a second, where nothing has changed."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        result = store_verify(world, Options(store=store.root), quick=True, repair=False)
        seconds.append(time.perf_counter() - started)
        _expect(result, result.checked == SMALL_FILES and not result.hashed)
    rate = SMALL_FILES / statistics.median(seconds)
    print(f"by stat: {rate:,.0f} files/s (goal {_STAT_GOAL:,}), median of {ROUNDS}")


def by_hash(world: World, store: Store, blocks: list[bytes]) -> None:
    """The rate of verifying as a share of that of hashing alone."""
    alone, whole = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        with ThreadPoolExecutor(processors()) as pool:
            list(pool.map(lambda block: hashlib.sha256(block).digest(), blocks))
        alone.append(time.perf_counter() - started)
        started = time.perf_counter()
        result = store_verify(world, Options(store=store.root), quick=False, repair=False)
        whole.append(time.perf_counter() - started)
        _expect(result, result.hashed == LARGE_FILES)
    megabytes = LARGE_FILES * LARGE_BYTES / 1e6
    share = statistics.median(alone) / statistics.median(whole)
    print(
        f"by hash: {megabytes / statistics.median(whole):,.0f} MB/s on {processors()} processors, "
        f"{share:.2f} of hashing alone (goal {_HASH_GOAL}), median of {ROUNDS}"
    )


def _expect(result: VerifyResult, right: bool) -> None:  # noqa: FBT001 - as in an assertion
    if not right or result.failure():
        message = f"measured something else: {result.to_json()}"
        raise SystemExit(message)


if __name__ == "__main__":
    main()
