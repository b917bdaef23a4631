"""`configure` on the command line, and what real uv makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cli.projects import WHEELS, Project, downloads

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.machine import Machine
    from tests.simulators.index import IndexSimulator


def test_after_configure_plain_uv_downloads_each_file_once_from_an_index_that_forbids_to_keep(
    machine: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    app = Project(packages=("lean",)).write(tmp_path / "app", index.index_url)
    assert machine.uv(app, "lock").code == 0
    lock = (app / "uv.lock").read_bytes()

    shown = machine.gpuenv(app, "configure")
    assert shown.code == 0, shown.err
    assert "no-store" in shown.out
    assert "+cache-control = {" in shown.out
    assert "--write" in shown.out
    written = machine.gpuenv(app, "configure", "--write", "--json").data
    assert [item["written"] for item in written["files"]] == [True]
    assert machine.gpuenv(app, "configure", "--write").out.startswith("nothing to change")

    assert machine.uv(app, "lock", "--check").code == 0
    assert machine.uv(app, "cache", "clean", "-q").code == 0
    index.reset_log()
    for line in ("cu12", "cu13", "cu12", "cu13"):
        synced = machine.uv(app, "sync", "--extra", line)
        assert synced.code == 0, synced.err
    assert downloads(index) == dict.fromkeys(WHEELS.values(), 1)
    offline = machine.uv(app, "sync", "--offline", "--reinstall", "--extra", "cu12")
    assert offline.code == 0, offline.err
    assert (app / "uv.lock").read_bytes() == lock
