"""Stores with blobs, environments and projects, as `prepare` leaves them, without a uv."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioner.adapters.roots import Roots
from provisioner.adapters.state import State, StateFolder
from provisioner.adapters.store import Store
from provisioner.core.digest import Digest
from provisioner.core.history import History, Prepared
from provisioner.core.plan import LockedFile
from provisioner.core.reach import Limits
from provisioner.core.urls import file_name
from provisioner.workflow.ledger import Ledger
from provisioner.workflow.progress import Quiet
from provisioner.workflow.store_gc import GcResult, store_gc
from provisioner.workflow.world import Options, World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from provisioner.adapters._whereabouts import Site

LONG_AGO = 1_000_000_000.0
NO_LIMITS = Limits()


def content_of(name: str) -> bytes:
    """The bytes of a file."""
    return f"the bytes of {name}\n".encode() * 10


def digest_of(name: str) -> Digest:
    """The hash of a file."""
    return Digest.parse(hashlib.sha256(content_of(name)).hexdigest())


class Notes(Quiet):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        """Keep it."""
        self.told.append(text)


@dataclass
class FilledStore:
    """A store below a folder, and the projects beside it."""

    root: Path
    now: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.store = Store(self.root / "store")
        self.store.open()
        self.options = Options(store=self.store.root)
        (self.root / "proc").mkdir(exist_ok=True)

    @property
    def world(self) -> World:
        """A world in which no process runs."""
        return World(
            variables={"NETRC": str(self.root / "no-netrc")},
            home=self.root,
            folder=self.root,
            now=lambda: self.now,
            root=self.root,
        )

    def blob(self, name: str, *, url: str = "", used: float = LONG_AGO) -> Digest:
        """A blob that came from a URL and was used at some time."""
        digest = digest_of(name)
        path = self.store.blob(digest)
        path.parent.mkdir(exist_ok=True)
        staged = self.root / f"{os.urandom(8).hex()}"
        staged.write_bytes(content_of(name))
        staged.chmod(0o444)
        os.utime(staged, (LONG_AGO, LONG_AGO))
        staged.replace(path)
        Ledger(self.store).arrived(self.locked(name, digest, url), hashed=True)
        self.used(digest, used)
        return digest

    def used(self, digest: Digest, when: float) -> None:
        """Let a blob have been used at some time."""
        path = self.store.root / "records" / digest.hex[:2] / f"{digest.hex}.json"
        os.utime(path, (when, when))

    def locked(self, name: str, digest: Digest, url: str = "") -> LockedFile:
        """A blob as a lock names it: by the end of its URL."""
        url = url or f"https://index.test/files/{name}"
        index = "https://index.test/simple"
        return LockedFile(name=file_name(url), url=url, digest=digest, size=None, index=index)

    def environment(
        self,
        name: str,
        project: Path | None,
        blobs: Iterable[Digest] = (),
        *,
        bytes_: int = 100,
        site: Site | None = None,
    ) -> Path:
        """An environment, finished if it is of a project."""
        path = self.store.root / "envs" / name
        (path / "lib").mkdir(parents=True)
        (path / "lib" / "module.py").write_bytes(b"x" * bytes_)
        if project is not None:
            facts = {
                "project": str(project),
                "profile": "cu12",
                "blobs": [digest.hex for digest in blobs],
                **({"site": site.to_json()} if site else {}),
            }
            path.with_name(f"{name}.json").write_text(json.dumps(facts), encoding="utf-8")
        for each in (path, path.with_name(f"{name}.json")):
            if each.exists():
                os.utime(each, (LONG_AGO, LONG_AGO))
        return path

    def project(
        self,
        name: str,
        environments: Iterable[Path] = (),
        *,
        last: Iterable[Digest] = (),
        planned: Iterable[Digest] = (),
    ) -> Path:
        """A project in whose history every one of the environments was active."""
        folder = self.root / "projects" / name
        states = StateFolder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        history = History()
        for path in environments:
            prepared = Prepared(
                profile="cu12",
                environment=str(path),
                stamp=(1, 1),
                inputs=path.name,
                recipe={
                    "folder": str(folder),
                    "lock": str(folder / "uv.lock"),
                    "lock_hash": "",
                    "lock_stamp": [],
                    "python": "",
                },
            )
            history = history.activate(prepared, automatic=True, now=1)
        with states.hold(wait_seconds=0):
            states.write(
                State(
                    history=history,
                    last={
                        "request": "",
                        "inputs": {},
                        "blobs": [digest.hex for digest in last],
                        "result": {},
                    },
                )
            )
        files = [self.locked(f"{digest.hex[:8]}.whl", digest) for digest in planned]
        Roots(self.store.root).register(folder, str(folder), files, LONG_AGO)
        return folder

    def gc(self, limits: Limits = NO_LIMITS, *, dry_run: bool = False) -> GcResult:
        """Collect."""
        return store_gc(self.world, self.options, limits, dry_run=dry_run)

    def held(self) -> set[Digest]:
        """The blobs that are there."""
        return {Digest(path.name) for path in self.store.root.glob("blobs/sha256/??/*")}

    def environments(self) -> set[str]:
        """The environments that are there."""
        return {path.name for path in (self.store.root / "envs").iterdir() if path.is_dir()}

    def files(self) -> set[str]:
        """Everything that is there."""
        return {
            str(path.relative_to(self.store.root))
            for path in self.store.root.rglob("*")
            if not path.is_dir()
        }
