"""The link and the state of a project, with real links, repositories and environments."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.projects import find_home
from provisioner.adapters.state import State, StateFolder
from provisioner.core.history import History, Prepared
from provisioner.errors import GpuenvError, LockHeldError, PolicyError
from tests.simulators.environment import clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

FLIPS = 200
RECIPE = {
    "folder": "app",
    "lock": "uv.lock",
    "lock_hash": "",
    "lock_stamp": [],
    "python": "python",
}


def environment(tmp_path: Path, name: str) -> Path:
    """A folder that stands for an environment and tells its name."""
    path = tmp_path / "envs" / name
    path.mkdir(parents=True)
    (path / "marker").write_text(name, encoding="utf-8")
    return path


def prepared(path: Path) -> Prepared:
    """What is known of an environment."""
    return Prepared(
        profile=path.name, environment=str(path), stamp=(1, 2), inputs="i", recipe=RECIPE
    )


def history(*paths: Path) -> History:
    """Environments that were activated one after the other."""
    made = History()
    for second, path in enumerate(paths):
        made = made.activate(prepared(path), automatic=False, now=second)
    return made


def nothing(path: Path) -> bool:
    """Own no environment."""
    return not path.name


def git(folder: Path, *words: str) -> str:
    """What git says in a folder."""
    done = subprocess.run(
        ["git", *words],
        cwd=folder,
        env=clean_environment(folder.parent),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def exclude(folder: Path) -> list[str]:
    """The patterns of a repository's exclude file, comments apart."""
    lines = (folder / ".git" / "info" / "exclude").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_the_link_points_at_what_was_activated_last(
    state: StateFolder, home: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        state.flip(environment(tmp_path, name))
        assert (home / ".venv" / "marker").read_text(encoding="utf-8") == name

    assert state.linked() == tmp_path / "envs" / "two"
    assert [path.name for path in home.iterdir()] == [".venv"]


def test_a_reader_never_finds_the_link_missing(
    state: StateFolder, home: Path, tmp_path: Path
) -> None:
    targets = [environment(tmp_path, name) for name in ("one", "two")]
    state.flip(targets[0])
    marker = home / ".venv" / "marker"
    done = threading.Event()
    seen: set[str] = set()
    missing: list[OSError] = []

    def read() -> None:
        while not done.is_set():
            try:
                seen.add(marker.read_text(encoding="utf-8"))
            except OSError as error:
                missing.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(FLIPS):
        state.flip(targets[turn % 2])
    done.set()
    reader.join()

    assert missing == []
    assert seen <= {"one", "two"}
    assert seen


def test_what_a_kill_has_left_goes_when_the_project_is_held_next(
    state: StateFolder, home: Path, tmp_path: Path
) -> None:
    with state.hold(wait_seconds=0):
        state.write(State(target={"python": "3.12"}))
    (home / ".venv.gpuenv").symlink_to(environment(tmp_path, "one"))
    for name in (".state.json.0123456789ab", ".pylock.cu12.toml.0123456789ab"):
        (home / ".gpuenv" / name).write_text("{", encoding="utf-8")

    with state.hold(wait_seconds=0):
        state.flip(environment(tmp_path, "two"))

    assert {path.name for path in home.iterdir()} == {".gpuenv", ".venv"}
    assert {path.name for path in (home / ".gpuenv").iterdir()} == {
        ".gitignore",
        "lock",
        "state.json",
    }
    assert state.read().target == {"python": "3.12"}


def test_a_file_of_the_user_in_the_place_of_the_next_link_stays(
    state: StateFolder, home: Path, tmp_path: Path
) -> None:
    (home / ".venv.gpuenv").write_text("mine", encoding="utf-8")

    with state.hold(wait_seconds=0), pytest.raises(OSError, match="exists"):
        state.flip(environment(tmp_path, "one"))

    assert (home / ".venv.gpuenv").read_text(encoding="utf-8") == "mine"


def test_a_folder_without_a_link_may_get_one(state: StateFolder) -> None:
    state.check_link(nothing, History())

    assert state.linked() is None


@pytest.mark.parametrize("kind", ["folder", "file", "link", "dangling link"])
def test_what_lies_there_and_is_not_ours_is_refused(
    kind: str, state: StateFolder, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign"
    if kind == "folder":
        state.link.mkdir()
    elif kind == "file":
        state.link.write_text("mine", encoding="utf-8")
    else:
        state.link.symlink_to(foreign)
    if kind == "link":
        foreign.mkdir()

    with pytest.raises(PolicyError) as caught:
        state.check_link(nothing, History())

    assert (caught.value.exit_code, caught.value.code) == (8, "foreign-environment")
    assert "--adopt" in (caught.value.hint or "")
    assert os.path.lexists(state.link)


def test_a_link_that_the_history_knows_is_ours_even_where_its_environment_is_gone(
    state: StateFolder, tmp_path: Path
) -> None:
    gone = tmp_path / "envs" / "gone"
    state.flip(gone)

    state.check_link(nothing, history(gone))

    assert state.linked() == gone


def test_a_link_to_an_environment_of_a_store_is_ours(state: StateFolder, tmp_path: Path) -> None:
    path = environment(tmp_path, "one")
    state.flip(path)
    asked: list[Path] = []

    def owns(candidate: Path) -> bool:
        asked.append(candidate)
        return True

    state.check_link(owns, History())

    assert asked == [path]


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_moving_aside_keeps_what_was_there(kind: str, state: StateFolder, tmp_path: Path) -> None:
    if kind == "folder":
        (state.link / "lib").mkdir(parents=True)
    elif kind == "file":
        state.link.write_text("mine", encoding="utf-8")
    else:
        state.link.symlink_to(tmp_path / "foreign")

    aside = state.move_aside()

    assert aside is not None
    assert not os.path.lexists(state.link)
    assert os.path.lexists(aside)
    assert aside.parent == state.home / ".gpuenv"
    assert aside.is_symlink() == (kind == "link")


def test_a_folder_that_cannot_be_moved_aside_is_told_and_stays(
    state: StateFolder, home: Path
) -> None:
    (state.link / "lib").mkdir(parents=True)
    memory = Path("/dev/shm")  # noqa: S108 - for its file system
    if not memory.is_dir() or memory.stat().st_dev == home.stat().st_dev:
        pytest.skip("there is no second file system, which a mount would be too")
    with tempfile.TemporaryDirectory(dir=memory) as elsewhere:
        (home / ".gpuenv").symlink_to(elsewhere)
        with pytest.raises(GpuenvError, match="cannot move") as caught:
            state.move_aside()
    assert caught.value.causes
    assert (state.link / "lib").is_dir()


def test_where_nothing_is_nothing_is_moved_aside(state: StateFolder) -> None:
    assert state.move_aside() is None


def test_a_project_that_remembers_nothing_has_an_empty_state(state: StateFolder) -> None:
    assert state.read() == State()


def test_what_is_remembered_comes_back(state: StateFolder, tmp_path: Path) -> None:
    one, two = (environment(tmp_path, name) for name in ("one", "two"))
    remembered = State(
        history=history(one, two),
        prepared=(prepared(one), prepared(two)),
        target={"platform": {"system": "linux"}},
        last={"request": "r", "inputs": {}, "blobs": [], "result": {}},
    )
    with state.hold(wait_seconds=0):
        state.write(remembered)

    assert StateFolder(state.home).read() == remembered


def test_after_a_crash_between_flip_and_write_the_link_tells_what_is_active(
    state: StateFolder, tmp_path: Path
) -> None:
    one, two = (environment(tmp_path, name) for name in ("one", "two"))
    with state.hold(wait_seconds=0):
        state.write(State(history=history(one, two)))
    state.flip(one)

    assert state.read().history.active == 1


def test_of_two_generations_of_one_environment_the_later_is_the_active_one(
    state: StateFolder, tmp_path: Path
) -> None:
    one, two = (environment(tmp_path, name) for name in ("one", "two"))
    with state.hold(wait_seconds=0):
        state.write(State(history=history(one, two, one, two)))
    state.flip(one)

    assert state.read().history.active == 3


def test_a_link_to_what_no_generation_knows_leaves_the_history(
    state: StateFolder, tmp_path: Path
) -> None:
    one, two = (environment(tmp_path, name) for name in ("one", "two"))
    with state.hold(wait_seconds=0):
        state.write(State(history=history(one)))
    state.flip(two)

    assert state.read().history == history(one)


def test_an_older_generation_that_is_linked_and_active_stays_active(
    state: StateFolder, tmp_path: Path
) -> None:
    one, two = (environment(tmp_path, name) for name in ("one", "two"))
    made = history(one, two, one)
    back = made.go_back(made.find(1), prepared(one))
    with state.hold(wait_seconds=0):
        state.write(State(history=back))
    state.flip(one)

    assert state.read().history.active == 1


def test_a_state_of_another_format_is_refused_with_both_numbers(state: StateFolder) -> None:
    with state.hold(wait_seconds=0):
        (state.home / ".gpuenv" / "state.json").write_text('{"schema": 7}', encoding="utf-8")

    with pytest.raises(GpuenvError) as caught:
        state.read()

    assert caught.value.code == "state-format"
    assert "`1`" in caught.value.causes[0]
    assert "`7`" in caught.value.causes[0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[[[",
        b"\xff\xfe",
        b"[]",
        b'"state"',
        b'{"schema": 1}',
        b'{"schema": 1, "home": "{home}", "target": null, "last": null}',
        b'{"schema": 1, "home": "{home}", "environments": {}, "generations": [{"number": 1}]}',
        b'{"schema": 1, "home": "{home}", "environments": {}, "generations": [], "prepared": [1]}',
    ],
)
def test_a_damaged_state_is_told_and_never_taken_for_an_empty_one(
    content: bytes, state: StateFolder
) -> None:
    file = state.home / ".gpuenv" / "state.json"
    with state.hold(wait_seconds=0):
        file.write_bytes(content.replace(b"{home}", str(state.home).encode()))

    with pytest.raises(GpuenvError) as caught:
        state.read()

    assert caught.value.code == "state-damaged"
    assert str(file) in caught.value.message
    assert caught.value.causes
    assert caught.value.hint


def test_a_member_that_was_led_to_a_state_finds_it(state: StateFolder, tmp_path: Path) -> None:
    member = tmp_path / "project" / "packages" / "a"
    member.mkdir(parents=True)
    # Neither file is read, since the pointer says enough.
    for folder in (member, state.home):
        (folder / "pyproject.toml").write_text("[[[", encoding="utf-8")

    for _ in range(2):
        state.lead_from(member)

    assert find_home(member, is_project=True) == state.home
    assert (member / ".gpuenv" / ".gitignore").read_text(encoding="utf-8") == "*\n"
    assert not (member / ".gpuenv" / "state.json").exists()


def test_git_ignores_the_folder_of_the_state_by_its_own_file(state: StateFolder) -> None:
    git(state.home, "init", "-q")
    with state.hold(wait_seconds=0):
        state.write(State())

    assert (state.home / ".gpuenv" / ".gitignore").read_text(encoding="utf-8") == "*\n"
    assert git(state.home, "status", "--porcelain", "-uall") == ""


def test_a_gitignore_that_the_user_changed_stays(state: StateFolder) -> None:
    for _ in range(2):
        with state.hold(wait_seconds=0):
            (state.home / ".gpuenv" / ".gitignore").write_text("mine\n", encoding="utf-8")

    assert (state.home / ".gpuenv" / ".gitignore").read_text(encoding="utf-8") == "mine\n"


def test_two_at_once_are_kept_apart_and_the_second_is_told_who_is_first(
    state: StateFolder,
) -> None:
    waited: list[str] = []
    with (
        state.hold(wait_seconds=0),
        pytest.raises(LockHeldError) as caught,
        StateFolder(state.home).hold(wait_seconds=0.2, waiting=waited.append),
    ):
        pytest.fail("the lock was given twice")

    assert caught.value.exit_code == 6
    assert f"process {os.getpid()}" in caught.value.causes[0]
    assert len(waited) == 1


def test_a_lock_is_free_again_afterwards(state: StateFolder) -> None:
    with pytest.raises(ZeroDivisionError), state.hold(wait_seconds=0):
        _ = 1 // 0
    with state.hold(wait_seconds=0):
        assert (state.home / ".gpuenv" / "lock").exists()


def test_a_project_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(GpuenvError, match="cannot write to"),
        StateFolder(tmp_path / "missing").hold(wait_seconds=0),
    ):
        pytest.fail("nothing can be held there")


@contextmanager
def repository(folder: Path, ignored: str | None = None) -> Iterator[None]:
    """A real repository, with a `.gitignore` if there is something to ignore."""
    git(folder, "init", "-q")
    # What the machine's own git ignores does not count here.
    git(folder, "config", "core.excludesFile", os.devnull)
    if ignored is not None:
        (folder / ".gitignore").write_text(ignored, encoding="utf-8")
        git(folder, "add", ".gitignore")
        git(
            folder,
            *("-c", "user.name=n", "-c", "user.email=e@x.test"),
            *("commit", "-q", "-m", "ignore", "--no-gpg-sign"),
        )
    yield
    assert git(folder, "status", "--porcelain") == ""


@pytest.mark.parametrize("ignored", [None, ".venv/\n", "*.pyc\n"])
def test_a_link_that_git_would_show_is_excluded(
    ignored: str | None, state: StateFolder, home: Path, tmp_path: Path
) -> None:
    with repository(home, ignored):
        state.flip(environment(tmp_path, "one"))

    assert exclude(home) == ["/.venv"]


@pytest.mark.parametrize("ignored", [".venv\n", ".venv*\n", "/.venv\n"])
def test_a_link_that_git_ignores_needs_no_exclusion(
    ignored: str, state: StateFolder, home: Path, tmp_path: Path
) -> None:
    with repository(home, ignored):
        state.flip(environment(tmp_path, "one"))

    assert exclude(home) == []


def test_the_exclusion_is_written_once(state: StateFolder, home: Path, tmp_path: Path) -> None:
    with repository(home):
        for name in ("one", "two", "three"):
            state.flip(environment(tmp_path, name))
            if name == "two":
                state.link.unlink()

    assert exclude(home) == ["/.venv"]


def test_a_project_below_the_repositorys_top_is_excluded_by_its_path(tmp_path: Path) -> None:
    top = tmp_path / "repository"
    project = top / "packages" / "demo"
    project.mkdir(parents=True)
    with repository(top):
        StateFolder(project).flip(environment(tmp_path, "one"))

    assert exclude(top) == ["/packages/demo/.venv"]


def test_a_pattern_of_the_user_without_a_line_end_stays_a_pattern(
    state: StateFolder, home: Path, tmp_path: Path
) -> None:
    with repository(home):
        (home / ".git" / "info" / "exclude").write_text("*.secret", encoding="utf-8")
        state.flip(environment(tmp_path, "one"))

    assert exclude(home) == ["*.secret", "/.venv"]


def test_without_a_repository_nothing_is_written(
    state: StateFolder, home: Path, tmp_path: Path
) -> None:
    state.flip(environment(tmp_path, "one"))

    assert [path.name for path in home.iterdir()] == [".venv"]
