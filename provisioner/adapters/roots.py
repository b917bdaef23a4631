"""`roots/` and `pins/` of the store: the projects that use it, and what the user keeps."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from provisioner.adapters._files import DAMAGED, read_json, unless_read_only, write_whole
from provisioner.adapters._whereabouts import Site, site_from_json, site_of
from provisioner.core.digest import Digest
from provisioner.core.urls import without_query

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from provisioner.core.plan import LockedFile

_SCHEMA: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Files that a project was going to fetch for one purpose, in seconds since the epoch."""

    files: tuple[LockedFile, ...]
    made: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Root:
    """A project that uses the store; `home` is the folder that has its `.gpuenv`.

    `plans` has what it asked for last, for itself and for other machines.
    """

    home: str
    site: Site
    plans: Mapping[str, Plan]


class Roots:
    """One small file a project."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "roots"

    def register(self, home: Path, purpose: str, files: Iterable[LockedFile], now: float) -> None:
        """Note that a project asks for files; what it asked for before for that is forgotten.

        The caller holds the project. In a store that cannot be written to nothing is noted.
        """
        path = self._path(str(home))
        try:
            known = _parse(read_json(path))
        except DAMAGED:
            known = None
        plans = dict(known.plans) if known else {}
        plans[purpose] = Plan(files=tuple(files), made=now)
        root = Root(home=str(home), site=site_of(home), plans=plans)
        with unless_read_only():
            self._folder.mkdir(exist_ok=True)
            write_whole(path, json.dumps(_root_json(root)))

    def every(self) -> Iterator[tuple[Path, Root | None]]:
        """All of them, with None for one that cannot be read."""
        for path in sorted(self._folder.glob("[0-9a-f]*.json")):
            try:
                root = _parse(read_json(path))
            except DAMAGED:
                yield path, None
            else:
                if root is not None:
                    yield path, root

    def _path(self, home: str) -> Path:
        return self._folder / f"{hashlib.sha256(home.encode()).hexdigest()[:32]}.json"


Kind = Literal["file", "project", "bundle"]
_KINDS: Final[dict[str, Kind]] = {"file": "file", "project": "project", "bundle": "bundle"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """What the user keeps: a file, what a project needed when it was pinned, or a bundle.

    `label` is the file's name, the folder of the project, or the bundle's name.
    """

    kind: Kind
    label: str
    digests: frozenset[Digest]


class Pins:
    """One small file a pin."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "pins"

    def add(self, pin: Pin) -> None:
        """Keep something."""
        self._folder.mkdir(exist_ok=True)
        data = {
            "kind": pin.kind,
            "label": pin.label,
            "sha256": sorted(item.hex for item in pin.digests),
        }
        write_whole(self._path(pin), json.dumps(data))

    def remove(self, pin: Pin) -> None:
        """Keep it no longer."""
        self._path(pin).unlink(missing_ok=True)

    def every(self) -> Iterator[tuple[Path, Pin | None]]:
        """All of them, with None for one that cannot be read."""
        for path in sorted(self._folder.glob("[0-9a-f]*.json")):
            try:
                data = read_json(path)
                if data is not None:
                    yield (
                        path,
                        Pin(
                            kind=_KINDS[data["kind"]],
                            label=str(data["label"]),
                            digests=frozenset(Digest.parse(text) for text in data["sha256"]),
                        ),
                    )
            except DAMAGED:
                yield path, None

    def _path(self, pin: Pin) -> Path:
        # A file name may stand for several blobs; a project, or a bundle, is one thing.
        which = [pin.kind, pin.label, *sorted(item.hex for item in pin.digests)]
        key = "\n".join(which if pin.kind == "file" else which[:2])
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _root_json(root: Root) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "home": root.home,
        **root.site.to_json(),
        "plans": {
            purpose: {
                "made": plan.made,
                "files": [
                    {
                        "name": file.name,
                        "url": without_query(file.url),
                        "sha256": file.digest.hex,
                        "size": file.size,
                        "index": without_query(file.index) if file.index else None,
                    }
                    for file in plan.files
                ],
            }
            for purpose, plan in root.plans.items()
        },
    }


def _parse(data: Any) -> Root | None:  # noqa: ANN401 - as JSON has it
    """Raises one of `DAMAGED` where it is damaged."""
    # It takes `packaging`, which a `prepare` that has nothing to do does without.
    from provisioner.core.plan import LockedFile

    if data is None:
        return None
    if data["schema"] != _SCHEMA:
        raise ValueError(data["schema"])
    return Root(
        home=str(data["home"]),
        site=site_from_json(data),
        plans={
            str(purpose): Plan(
                made=float(plan["made"]),
                files=tuple(
                    LockedFile(
                        name=str(item["name"]),
                        url=str(item["url"]),
                        digest=Digest.parse(item["sha256"]),
                        size=item["size"],
                        index=item["index"],
                    )
                    for item in plan["files"]
                ),
            )
            for purpose, plan in data["plans"].items()
        },
    )
