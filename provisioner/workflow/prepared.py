"""What `prepare` tells of what it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from provisioner.core.proofs import Proof


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """Files and their bytes."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareResult:
    """What `prepare` did. `active` is the active profile; paths are absolute.

    `build_files` is how many of the fetched files were only built with. `proof` is what came
    of trying clients with the network cut off.

    `missing`, `arrived` (bytes of those files that are there already), `room` and `short` are
    told by `--dry-run`: what is to come, what is needed and free on each file system, and
    where that cannot do.

    `substitutions` are the wheels that stub source distributions stand for. `link_mode` is how
    uv was told to bring files from its cache into the chosen environment. `seed` are the wheels
    that every environment has beside those of its lock. `imported` came from the bundle that the
    user named.
    """

    profile: str
    why: str
    extras: tuple[str, ...]
    prepared: tuple[str, ...]
    rejected: tuple[str, ...]
    warnings: tuple[str, ...]
    fetched: Count
    reused: Count
    store: str
    environment: str | None
    active: str | None
    generation: int | None
    build_files: int = 0
    link: str | None = None
    kept: bool = False
    nothing_to_do: bool = False
    notes: tuple[str, ...] = ()
    proof: tuple[Proof, ...] = ()
    missing: tuple[tuple[str, int | None], ...] = ()
    arrived: int = 0
    free_bytes: int | None = None
    room: tuple[dict[str, Any], ...] = ()
    short: tuple[str, ...] = ()
    target: dict[str, Any] | None = None
    substitutions: tuple[dict[str, Any], ...] = ()
    link_mode: str | None = None
    seed: tuple[str, ...] = ()
    imported: Count | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields of `prepare --json`."""
        data = {name: getattr(self, name) for name in self.__slots__}
        if self.imported is not None:
            data["imported"] = {"files": self.imported.files, "bytes": self.imported.bytes}
        data["fetched"] = {"files": self.fetched.files, "bytes": self.fetched.bytes}
        data["reused"] = {"files": self.reused.files, "bytes": self.reused.bytes}
        data["missing"] = [{"name": name, "bytes": size} for name, size in self.missing]
        data["proof"] = [proof.to_json() for proof in self.proof]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PrepareResult:
        """Read what `to_json` gave."""
        lists = [name for name in data if isinstance(data[name], list) and name != "missing"]
        return cls(
            **{
                **data,
                **{name: tuple(data[name]) for name in lists},
                "fetched": Count(**data["fetched"]),
                "reused": Count(**data["reused"]),
                "imported": Count(**data["imported"]) if data.get("imported") else None,
                "missing": tuple((item["name"], item["bytes"]) for item in data["missing"]),
                "proof": tuple(Proof.from_json(item) for item in data.get("proof", ())),
            }
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedTargets:
    """What was fetched for each of several targets into the one store."""

    targets: tuple[tuple[str, PrepareResult], ...]

    def to_json(self) -> dict[str, Any]:
        """The fields of `prepare --json` with several targets."""

        def total(name: str) -> dict[str, int]:
            counts = [getattr(one, name) for _, one in self.targets]
            return {"files": sum(c.files for c in counts), "bytes": sum(c.bytes for c in counts)}

        return {
            "profile": None,
            "prepared": list(dict.fromkeys(p for _, one in self.targets for p in one.prepared)),
            "fetched": total("fetched"),
            "reused": total("reused"),
            "environment": None,
            "active": None,
            "generation": None,
            "targets": [{**one.to_json(), "name": name} for name, one in self.targets],
        }
