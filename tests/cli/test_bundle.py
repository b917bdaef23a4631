"""`gpuenv store export` here, `gpuenv store import` on a machine that has no network."""

from __future__ import annotations

import json
import shlex
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import GPUENV, Machine, distributions, line_of, without_network
from tests.cli.projects import BUILD_WHEELS, LINES, LOCKED, TARGET, WHEELS

if TYPE_CHECKING:
    from tests.cli.conftest import Prepared
    from tests.simulators.index import IndexSimulator


BUILT = {f"stub_{line}-1.0-py3-none-any.whl" for line in LINES}
"""What was built where the bundle comes from."""


@pytest.fixture
def other(tmp_path: Path) -> Machine:
    """A machine that never had a network."""
    return Machine(tmp_path / "other")


def copied(folder: Path, to: Path) -> Path:
    """A project as it is carried to another machine: what git would have."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns(".venv", ".gpuenv"))
    return to


def test_a_project_is_prepared_and_built_offline_from_a_bundle(
    first_prepare: Prepared, other: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    bundle = tmp_path / "app.tar"
    exported = first_prepare.gpuenv("store", "export", bundle, "--json").data
    assert exported["blobs"]["files"] == len(LOCKED) + len(BUILD_WHEELS) + len(BUILT)
    assert (exported["name"], exported["locks"], exported["notes"]) == ("app", ["uv.lock"], [])
    assert exported["bytes"] == bundle.stat().st_size
    app = copied(first_prepare.folder, tmp_path / "app")
    index.reset_log()

    imported = other.gpuenv(tmp_path, "store", "import", bundle, "--json", network=False).data
    assert imported["imported"] == exported["blobs"]
    assert imported["held"] == {"files": 0, "bytes": 0}
    assert imported["pin"] == "app.tar"
    assert other.blobs() == first_prepare.machine.blobs()
    # Nothing of it is used yet, and a collection leaves it.
    assert other.gpuenv(tmp_path, "store", "gc").code == 0
    done = other.gpuenv(
        app, "prepare", "--offline", "--target", TARGET, "--json", network=False
    ).data

    assert done["fetched"] == {"files": 0, "bytes": 0}
    assert done["prepared"] == ["cu13", "cu12", "cpu"]
    assert len(other.built()) == len(first_prepare.builds)
    assert line_of(app / ".venv") == "cu13"
    assert distributions(app / ".venv") == distributions(first_prepare.environment("cu13"))
    assert index.requests == []
    again = other.gpuenv(tmp_path, "store", "import", bundle, "--json").data
    assert (again["imported"]["files"], again["held"]) == (0, exported["blobs"])
    assert other.gpuenv(app, "store", "verify").code == 0


def test_a_bundle_comes_and_goes_through_pipes(
    first_prepare: Prepared, other: Machine, tmp_path: Path
) -> None:
    gpuenv = shlex.join(GPUENV)
    line = f"{gpuenv} store export - | {gpuenv} store import - --store {other.store}"

    done = first_prepare.machine.run(
        first_prepare.folder, *without_network(), "bash", "-o", "pipefail", "-c", line
    )

    assert done.code == 0, done.err
    assert other.blobs() == first_prepare.machine.blobs()
    assert "pinned as app: `store gc` leaves it" in done.out
    assert "exported 9 files" in done.err
    removed = other.gpuenv(tmp_path, "store", "pin", "--remove", "app")
    assert removed.out == "unpinned bundle app (9 files)\n"
    assert other.gpuenv(tmp_path, "store", "gc").code == 0
    assert other.blobs() == set()


def test_two_bundles_are_equal_and_name_no_place_or_user(
    first_prepare: Prepared, tmp_path: Path
) -> None:
    one, two = tmp_path / "one.tar", tmp_path / "two.tar"
    for path in (one, two):
        assert first_prepare.gpuenv("store", "export", path).code == 0

    assert one.read_bytes() == two.read_bytes()
    with tarfile.open(one) as archive:
        members = archive.getmembers()
        manifest = archive.extractfile(members[0])
        assert manifest is not None
        text = manifest.read().decode()
    assert members[0].name == "manifest.json"
    assert {(item.mtime, item.uid, item.gid, item.uname, item.gname) for item in members} == {
        (0, 0, 0, "", "")
    }
    assert str(first_prepare.machine.root) not in text
    assert str(first_prepare.folder.parent) not in text
    listed = json.loads(text)["blobs"]
    blobs = {item["origins"][0]["name"]: item for item in listed if item["origins"]}
    assert set(blobs) == {*LOCKED, *BUILD_WHEELS}
    assert {item["built"]["name"] for item in listed if not item["origins"]} == BUILT
    assert blobs[WHEELS["cu13"]]["projects"] == ["app"]
    dated = first_prepare.gpuenv(
        "store", "export", one, "--force", given={"SOURCE_DATE_EPOCH": "7"}
    )
    assert dated.code == 0, dated.err
    with tarfile.open(one) as archive:
        assert {item.mtime for item in archive.getmembers()} == {7}


def test_a_bundle_that_is_there_is_replaced_only_by_force(
    first_prepare: Prepared, tmp_path: Path
) -> None:
    bundle = tmp_path / "app.tar"
    bundle.write_text("mine", encoding="utf-8")

    done = first_prepare.gpuenv("store", "export", bundle)

    assert done.code == 1
    assert done.message.hint == "`--force` replaces it"
    assert bundle.read_text(encoding="utf-8") == "mine"
    assert first_prepare.gpuenv("store", "export", bundle, "--force").code == 0
    assert tarfile.is_tarfile(bundle)
    assert [path.name for path in tmp_path.iterdir()] == ["app.tar"]


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("export", "-", "--json"), 2, "a bundle on stdout leaves no room for anything else there"),
        (("pin", "--remove"), 2, "`--remove` needs the names of what is to be kept no longer"),
        (("export", "x.tar", "common*", "--all"), 2, "`--all` leaves nothing to be named"),
        (("export", "x.tar", "no-such"), 1, "the store has no file or project `no-such`"),
        (("export", "x.tar", "--pin", "no-such"), 1, "nothing that is pinned is called `no-such`"),
        (("export", "no/such/x.tar"), 1, "cannot write `no/such/x.tar`"),
        (("import", "no-such.tar"), 2, "cannot read `no-such.tar`"),
        (("import", "pyproject.toml"), 1, "this is no bundle that can be imported"),
    ],
)
def test_what_cannot_be_done_is_said(
    first_prepare: Prepared, words: tuple[str, ...], code: int, error: str
) -> None:
    done = first_prepare.gpuenv("store", *words)

    assert (done.code, done.message.error) == (code, error)
    assert "exporting" not in done.err
    assert not Path(first_prepare.folder, "x.tar").exists()


def test_a_project_that_was_never_prepared_has_no_bundle(machine: Machine, app: Path) -> None:
    done = machine.gpuenv(app, "store", "export", "x.tar")

    assert done.code == 1
    assert done.message.error == f"nothing was ever prepared in `{app}`"
    assert not machine.store.exists()


def test_a_bundle_is_whole_where_uv_had_built_everything_before(
    machine: Machine, app: Path, other: Machine, tmp_path: Path
) -> None:
    bundle = tmp_path / "app.tar"
    elsewhere = {"GPUENV_STORE": str(tmp_path / "elsewhere")}
    twin = copied(app, tmp_path / "twin" / "app")
    before = machine.gpuenv(twin, "prepare", "--target", TARGET, given=elsewhere)
    assert before.code == 0, before.err
    prepared = machine.gpuenv(app, "prepare", "--target", TARGET)
    assert prepared.code == 0, prepared.err
    for done in (before, prepared):
        assert f", {len(BUILD_WHEELS)} of them to build with), reused 0 files" in done.out

    exported = machine.gpuenv(app, "store", "export", bundle, "--json").data

    assert exported["notes"] == []
    assert exported["blobs"]["files"] == len(LOCKED) + len(BUILD_WHEELS) + len(BUILT)
    carried = copied(app, tmp_path / "carried" / "app")
    assert other.gpuenv(tmp_path, "store", "import", bundle, network=False).code == 0
    done = other.gpuenv(carried, "prepare", "--offline", "--target", TARGET, network=False)
    assert done.code == 0, done.err
    again = machine.gpuenv(app, "prepare", "--target", TARGET, "--json").data
    assert again["nothing_to_do"]
