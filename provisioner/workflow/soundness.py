"""Whether the files of environments are as their packages were installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from provisioner.adapters._hashing import hash_of
from provisioner.adapters.environment_files import look
from provisioner.adapters.inventory import read_mark
from provisioner.adapters.records import Records
from provisioner.adapters.wheels import has_member, member_hash, take_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from provisioner.adapters.environment_files import Looked
    from provisioner.adapters.inventory import Mark
    from provisioner.adapters.store import Store
    from provisioner.core.digest import Digest
    from provisioner.core.installed_files import FileDamage


def look_at(
    store: Store, environments: Iterable[Path], *, deep: bool = False, protecting: bool = False
) -> Looked:
    """Look for damaged files in finished environments of a store; see `look`."""
    looked = look(environments, deep=deep, protecting=protecting)
    for environment, damage in looked.damage.items():
        if damage:
            mark = read_mark(environment)
            wheels = _made_from(store, mark)
            unknown = [item for item in damage if not (mark and item.path in mark.otherwise)]
            looked.damage[environment] = real_damage(environment, unknown, wheels)
    return looked


def put_back(store: Store, environment: Path, damage: Iterable[FileDamage]) -> bool:
    """Put files in the place of damaged ones, out of the wheels that an environment is made from.

    Whether all is right then. What an installer writes itself is in no wheel, and folders that
    are links may lead out of the environment.

    Raises:
        OSError: it cannot be written to.
    """
    wheels = _made_from(store, read_mark(environment))
    (site,) = environment.glob("lib/python*/site-packages")
    whole = environment.resolve()
    for item in damage:
        path = site / item.path
        if (
            item.path.endswith(".dist-info/RECORD")
            or not path.parent.resolve().is_relative_to(whole)
            or not any(take_out(wheel, item.path, path) for wheel in wheels.get(item.package, ()))
        ):
            return False
    return not look_at(store, [environment]).damage[environment]


def real_damage(
    environment: Path, damage: Iterable[FileDamage], wheels: Mapping[str, list[Path]]
) -> list[FileDamage]:
    """Damage without that which only a wrong `RECORD` tells of: the wheel has the same file."""
    sites = sorted(environment.glob("lib/python*/site-packages"))
    return [
        item
        for item in damage
        if not any(
            _is_as_in(wheel, site / item.path, item)
            for wheel in wheels.get(item.package, ())
            for site in sites
        )
    ]


def by_package(wheels: Iterable[tuple[str, Path]]) -> dict[str, list[Path]]:
    """Wheels, by the packages that their names tell."""
    found: dict[str, list[Path]] = {}
    for name, path in wheels:
        try:
            package, *_ = parse_wheel_filename(name)
        except InvalidWheelFilename:
            continue
        found.setdefault(package, []).append(path)
    return found


def _is_as_in(wheel: Path, path: Path, item: FileDamage) -> bool:
    if item.fault == "missing":
        return has_member(wheel, item.path) is False
    if item.fault not in {"wrong-size", "wrong-hash"}:
        return False
    told = member_hash(wheel, item.path)
    return told is not None and hash_of(path) == told


def _made_from(store: Store, mark: Mark | None) -> dict[str, list[Path]]:
    return by_package(_wheels_of(store, (mark and mark.blobs) or ()))


def _wheels_of(store: Store, blobs: Iterable[Digest]) -> Iterator[tuple[str, Path]]:
    """The names of those blobs that are held, and where they lie."""
    for digest in blobs:
        if digest in store:
            for root in (store.root, *store.lower):
                record = Records(root).read(digest)
                for name in record.names if record else ():
                    yield name, store.blob(digest)
