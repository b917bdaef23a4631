"""A lock for one machine: what the target takes, where it lies here."""

from __future__ import annotations

from typing import Any

from provisioner.core.digest import Digest
from provisioner.core.local_lock import LocalFile, LocalLock, local_lock
from tests.core.examples import LINUX
from tests.core.test_plan import AARCH64, HEAD, PYTHON, file, package

ARMS = "x-1-py3-none-manylinux_2_28_aarch64.whl"
OURS = "x-1-py3-none-manylinux_2_28_x86_64.whl"


def here(number: int, name: str, digest: int | None = None) -> dict[str, LocalFile]:
    """A file that lies here for a hash of the lock."""
    shown = Digest.parse(f"{number if digest is None else digest:064x}")
    return {f"{number:064x}": LocalFile(name=name, path=f"../s/{name}", digest=shown, size=number)}


def made(
    *packages: str,
    files: dict[str, LocalFile] | None = None,
    project: tuple[str, str] | None = None,
) -> LocalLock:
    return local_lock(
        HEAD + "".join(packages), (PYTHON, LINUX), files or {}, lambda path: f"../{path}", project
    )


def only(lock: LocalLock) -> dict[str, Any]:
    (found,) = lock.data["packages"]
    return dict(found)


def test_a_package_has_the_one_wheel_that_the_target_takes() -> None:
    lock = made(package("x", file(ARMS, 1), file(OURS, 2)), files=here(2, OURS))
    assert only(lock) == {
        "name": "x",
        "version": "1",
        "wheels": [{"path": f"../s/{OURS}", "size": 2, "hashes": {"sha256": f"{2:064x}"}}],
    }
    assert lock.notes == ()


def test_a_package_for_another_target_is_left_out() -> None:
    marked = package("x", file(ARMS, 1), more="marker = \"platform_machine == 'aarch64'\"")
    assert made(marked).data["packages"] == []
    assert AARCH64.machine == "aarch64"


def test_a_built_wheel_takes_the_place_of_its_source_distribution() -> None:
    wheel = "x-1-py3-none-any.whl"
    lock = made(package("x", file("x-1.tar.gz", 1)), files=here(1, wheel, digest=7))
    assert only(lock)["wheels"] == [
        {"path": f"../s/{wheel}", "size": 1, "hashes": {"sha256": f"{7:064x}"}}
    ]
    assert "sdist" not in only(lock)


def test_a_source_distribution_that_was_not_built_stays_one() -> None:
    lock = made(package("x", file("x-1.tar.gz", 1)), files=here(1, "x-1.tar.gz"))
    assert only(lock)["sdist"]["path"] == "../s/x-1.tar.gz"


def test_a_wheel_that_was_built_from_an_archive_tells_its_version() -> None:
    archive = f'\n[[packages]]\nname = "x"\narchive = {file("v1.tar.gz", 1)}\n'
    lock = made(archive, files=here(1, "x-3.0-py3-none-any.whl", digest=7))
    assert (only(lock)["version"], "archive" in only(lock)) == ("3.0", False)


def test_an_archive_that_was_not_built_stays_one() -> None:
    archive = f'\n[[packages]]\nname = "x"\narchive = {file("v1.tar.gz", 1)}\n'
    lock = made(archive, files=here(1, "v1-1.tar.gz"))
    assert only(lock)["archive"]["path"] == "../s/v1-1.tar.gz"


def test_a_folder_is_an_extra_of_the_lock_so_that_pip_installs_the_rest() -> None:
    folder = '\n[[packages]]\nname = "x"\ndirectory = {path = "lib/x", editable = true}\n'
    lock = made(folder)
    assert lock.data["extras"] == ["folders"]
    assert only(lock) == {
        "name": "x",
        "marker": '"folders" in extras',
        "directory": {"path": "../lib/x", "editable": True},
    }
    (note,) = lock.notes
    assert note.startswith("`x` is a folder")
    assert note.endswith("`pip install --no-deps -e lib/x`")
    (note,) = made(folder.replace(", editable = true", "")).notes
    assert note.endswith("`pip install --no-deps lib/x`")


def test_a_lock_without_folders_has_no_extra() -> None:
    assert "extras" not in made(package("x", file(OURS, 1)), files=here(1, OURS)).data


def test_a_repository_is_passed_through_and_told() -> None:
    vcs = '{type = "git", url = "https://git.test/x", commit-id = "ab"}'
    lock = made(f'\n[[packages]]\nname = "x"\nvcs = {vcs}\n')
    assert only(lock)["vcs"] == {"type": "git", "url": "https://git.test/x", "commit-id": "ab"}
    assert lock.notes == (
        (
            "`x` comes from git: uv fetches it itself, and pip, which has no hash to verify it by, "
            "refuses such a lock"
        ),
    )


def test_a_repository_of_this_machine_has_its_path_made_right() -> None:
    vcs = '{type = "git", path = "repo", commit-id = "ab"}'
    assert only(made(f'\n[[packages]]\nname = "x"\nvcs = {vcs}\n'))["vcs"]["path"] == "../repo"


def test_a_file_of_the_project_is_passed_through_and_told() -> None:
    local = f'{{path = "files/{OURS}", hashes = {{sha256 = "{1:064x}"}}}}'
    lock = made(f'\n[[packages]]\nname = "x"\nversion = "1"\nwheels = [{local}]\n')
    assert only(lock)["wheels"][0]["path"] == f"../files/{OURS}"
    assert lock.notes == (f"`x` comes from the file `files/{OURS}`, which has to stay where it is",)


def test_a_file_without_a_link_keeps_its_url_and_is_told() -> None:
    lock = made(package("x", file(OURS, 1)))
    assert only(lock)["wheels"][0]["url"].endswith(OURS)
    assert lock.notes == ("`x` has no link in the store, so that the client fetches it itself",)


def test_the_project_is_a_folder_too() -> None:
    lock = made("packages = []\n", project=("My.App", "."))
    assert lock.data["extras"] == ["folders"]
    assert only(lock) == {
        "name": "my-app",
        "marker": '"folders" in extras',
        "directory": {"path": "../.", "editable": True},
    }
    (note,) = lock.notes
    assert note.endswith("`pip install --no-deps -e .`")
