"""Every failure says what, why and what to do, and leaves the store and `.venv` as they were."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.core.ranges import SMALL_BYTES
from provisioner.errors import STORE_FULL
from tests.cli.machine import GPUENV, Machine, distributions, line_of
from tests.cli.projects import SDISTS, TARGET, WHEELS, Project, publish_packages
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Locker, Prepared
    from tests.cli.machine import Done
    from tests.simulators.index import Flavour

SPARE = "spare-1.0-py3-none-any.whl"
FULL = 1 << 20


@pytest.fixture
def prepared(first_prepare: Prepared, index: IndexSimulator) -> Iterator[Prepared]:
    """A prepared project; whatever a test does to its files, nothing else may change."""
    del index
    names = ("pyproject.toml", "uv.lock")
    texts = {name: (first_prepare.folder / name).read_bytes() for name in names}
    before = first_prepare.machine.snapshot(first_prepare.folder)
    yield first_prepare
    after = first_prepare.machine.snapshot(first_prepare.folder)
    for name, text in texts.items():
        (first_prepare.folder / name).write_bytes(text)
    assert after == before
    assert line_of(first_prepare.link) == "cu13"


def digest(index: IndexSimulator, name: str) -> str:
    with urllib.request.urlopen(index.file_url(name)) as answer:
        return hashlib.sha256(answer.read()).hexdigest()


def need(prepared: Prepared, package: str, locker: Locker) -> None:
    """Let the project need one more package, and lock it."""
    text = (prepared.folder / "pyproject.toml").read_text(encoding="utf-8")
    text = text.replace('["common"]', f'["common", "{package}"]')
    (prepared.folder / "pyproject.toml").write_text(text, encoding="utf-8")
    locker.lock(prepared.folder)


@pytest.fixture
def in_need(prepared: Prepared, index: IndexSimulator, locker: Locker, tmp_path: Path) -> Prepared:
    """A prepared project that now needs `spare`, which the store lacks."""
    index.publish(make_wheel(tmp_path, "spare", "1.0"))
    need(prepared, "spare", locker)
    return prepared


def test_a_wrong_hash_is_4_and_shows_both(in_need: Prepared, index: IndexSimulator) -> None:
    expected = digest(index, SPARE)
    index.corrupt(SPARE)
    done = in_need.gpuenv("prepare")
    assert done.code == 4
    assert done.message.error == f"`{SPARE}` has the wrong hash"
    (cause,) = done.message.causes
    assert cause.startswith(f"expected sha256 `{expected}`, got `")
    assert f"got `{expected}`" not in cause
    assert in_need.machine.partial() == []


def test_a_wrong_hash_in_json_names_its_code(in_need: Prepared, index: IndexSimulator) -> None:
    index.corrupt(SPARE)
    done = in_need.gpuenv("prepare", "--json")
    assert done.code == 4
    assert done.envelope["status"] == "error"
    assert [error["code"] for error in done.envelope["errors"]] == ["wrong-hash"]


def test_a_file_with_a_wrong_hash_is_still_missing_afterwards(
    in_need: Prepared, index: IndexSimulator
) -> None:
    index.corrupt(SPARE, times=1)
    assert in_need.gpuenv("prepare", "--fetch-only").code == 4
    later = in_need.gpuenv("prepare", "--dry-run", "--json")
    assert [item["name"] for item in later.data["missing"]] == [SPARE]


def test_a_build_requirement_with_a_wrong_hash_is_4(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    index.corrupt("helper-1.0-py3-none-any.whl")
    done = machine.gpuenv(app, "prepare", "--target", TARGET)
    assert done.code == 4
    assert done.message.error == "`helper-1.0-py3-none-any.whl` has the wrong hash"
    assert machine.environments() == set()
    assert not (app / ".venv").is_symlink()
    assert machine.partial() == []


def test_a_wrong_hash_of_a_file_that_uv_gets_while_it_arrives_is_4(
    machine: Machine, tmp_path: Path
) -> None:
    name = "lean_cu13-1.0-py3-none-any.whl"
    with IndexSimulator() as own:
        own.publish(make_wheel(tmp_path, "common", "1.0"))
        own.publish(make_wheel(tmp_path, "lean-cu13", "1.0", size=2 * SMALL_BYTES))
        folder = Project(lines=("cu13",), packages=("lean",)).write(tmp_path / "app", own.index_url)
        assert machine.uv(folder, "lock").code == 0
        own.corrupt(name)
        done = machine.gpuenv(folder, "prepare", "--target", TARGET)
        assert done.code == 4, done.err
        assert done.message.error == f"`{name}` has the wrong hash"
        assert machine.environments() == set()
        assert not (folder / ".venv").is_symlink()
        own.heal()
        # Once wrong, fetched anew and right: nobody need know.
        own.corrupt(name, times=1)
        done = machine.gpuenv(folder, "prepare", "--target", TARGET)
        assert done.code == 0, done.err
        assert distributions(folder / ".venv") == {"common 1.0", "lean-cu13 1.0"}


def test_a_wheel_that_no_installer_should_unpack_is_4_and_not_kept(
    machine: Machine, tmp_path: Path
) -> None:
    made = make_wheel(tmp_path, "lean-cu13", "1.0", files={"../../evil.py": b""})
    with IndexSimulator() as own:
        own.publish(make_wheel(tmp_path, "common", "1.0"))
        own.publish(made)
        folder = Project(lines=("cu13",), packages=("lean",)).write(tmp_path / "app", own.index_url)
        assert machine.uv(folder, "lock").code == 0
        done = machine.gpuenv(folder, "prepare", "--target", TARGET)
    assert done.code == 4
    assert done.message.error == f"`{made.name}` is not a valid wheel"
    assert done.message.causes == ("the member `../../evil.py` leads out of the archive",)
    assert hashlib.sha256(made.read_bytes()).hexdigest() not in machine.blobs()
    assert machine.partial() == []


def test_a_server_that_lacks_a_file_is_3_and_says_its_status(
    in_need: Prepared, index: IndexSimulator
) -> None:
    index.fail(SPARE, 404)
    done = in_need.gpuenv("prepare")
    assert done.code == 3
    assert done.message.error == f"could not fetch `{index.file_url(SPARE)}`"
    assert done.message.causes == ("the server answered with status 404",)


def test_a_download_that_never_gets_on_is_3(in_need: Prepared, index: IndexSimulator) -> None:
    index.truncate_after(SPARE, 0, times=None)
    done = in_need.gpuenv("prepare")
    assert done.code == 3
    assert done.message.error == f"could not fetch `{index.file_url(SPARE)}`"


def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    name = WHEELS["cu13"]
    index.truncate_after(name, 100_000)
    done = machine.gpuenv(app, "prepare", "--only", "--target", TARGET)
    assert done.code == 0, done.err
    blob = machine.store / "blobs" / "sha256" / digest(index, name)[:2] / digest(index, name)
    gone_on = [r for r in index.requests if r.headers.get("range", "").startswith("bytes=100000-")]
    assert [r.filename for r in gone_on] == [name]
    assert gone_on[0].body_bytes == blob.stat().st_size - 100_000


def test_a_server_that_is_busy_for_a_moment_is_asked_again(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    index.fail(WHEELS["common"], 503, times=1)
    done = machine.gpuenv(app, "prepare", "--only", "--profile", "cpu", "--target", TARGET)
    assert done.code == 0, done.err
    assert index.gets(WHEELS["common"]) == 2


def test_an_unreachable_index_is_3(machine: Machine, tmp_path: Path) -> None:
    with IndexSimulator() as own:
        publish_packages(own, tmp_path / "packages")
        folder = Project().write(tmp_path / "app", own.index_url)
        assert machine.uv(folder, "lock").code == 0
        url = own.url
    before = machine.snapshot(folder)
    done = machine.gpuenv(folder, "prepare", "--only", "--target", TARGET)
    assert done.code == 3
    assert done.message.error.startswith(f"could not fetch `{url}/")
    assert "refused" in done.message.causes[0].lower()
    assert done.message.hint is not None
    # The target alone is remembered, for the run that follows.
    assert replace(machine.snapshot(folder), state=None) == before
    assert machine.gpuenv(folder, "status", "--json").data["target"] is not None


def test_an_unreachable_index_while_resolving_is_3(machine: Machine, tmp_path: Path) -> None:
    with IndexSimulator() as own:
        folder = Project().write(tmp_path / "app", own.index_url)
        url = own.url
    before = machine.snapshot(folder)
    done = machine.gpuenv(folder, "prepare", "--target", TARGET)
    assert done.code == 3
    assert done.message.error.startswith(f"could not fetch `{url}/")
    assert replace(machine.snapshot(folder), state=None) == before


def test_a_package_that_no_index_has_is_uvs_error(machine: Machine, tmp_path: Path) -> None:
    with IndexSimulator() as own:
        folder = Project(dependencies=("no-such-package",)).write(tmp_path / "app", own.index_url)
        done = machine.gpuenv(folder, "prepare", "--target", TARGET)
    assert done.code == 1
    assert done.message.error == "uv could not lock the project"
    assert any("no-such-package" in cause for cause in done.message.causes)


def test_a_malformed_lock_is_1(prepared: Prepared, index: IndexSimulator) -> None:
    (prepared.folder / "uv.lock").write_text("version = = 1\n", encoding="utf-8")
    done = prepared.gpuenv("prepare")
    assert done.code == 1
    assert done.message.error == "`uv.lock` is malformed"
    assert done.message.causes
    assert index.requests == []


@pytest.mark.parametrize(
    ("old", "new"),
    [("version = 1\n", "version = 77\n"), ("sha256:", "sha999:"), ('= "common"', "= 3")],
)
def test_a_lock_that_uv_does_not_understand_is_1(
    prepared: Prepared, index: IndexSimulator, old: str, new: str
) -> None:
    path = prepared.folder / "uv.lock"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    done = prepared.gpuenv("prepare")
    assert done.code == 1
    assert "`uv.lock`" in done.message.error
    assert done.message.causes
    assert index.requests == []


def make_stale(folder: Path) -> None:
    """Let a project need something that its lock does not name."""
    path = folder / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('["common"]', '["common", "helper"]'), encoding="utf-8")


def test_a_stale_lock_is_1(prepared: Prepared) -> None:
    make_stale(prepared.folder)
    done = prepared.gpuenv("prepare")
    assert done.code == 1
    assert done.message.error == "`uv.lock` does not fit `pyproject.toml`"
    assert done.message.hint is not None


def test_causes_hold_no_hint_of_their_own(prepared: Prepared) -> None:
    make_stale(prepared.folder)
    causes = prepared.gpuenv("prepare").message.causes
    assert causes
    assert not [cause for cause in causes if cause.startswith("hint:")]


def test_a_stale_lock_is_refused_before_anything_is_fetched_or_built(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    make_stale(app)
    done = machine.gpuenv(app, "prepare", "--target", TARGET)
    assert done.code == 1
    assert done.message.error == "`uv.lock` does not fit `pyproject.toml`"
    assert machine.built() == []
    assert machine.blobs() == set()
    assert not [r.path for r in index.requests if r.path.endswith((".whl", ".tar.gz"))]


def test_the_hint_for_a_stale_lock_helps(prepared: Prepared) -> None:
    make_stale(prepared.folder)
    hint = prepared.gpuenv("prepare").message.hint
    assert hint is not None
    program, *words = hint.split("`")[1].split()
    mended = prepared.uv(*words) if program == "uv" else prepared.gpuenv(*words)
    assert mended.code == 0, mended.err
    done = prepared.gpuenv("prepare", "--dry-run")
    assert done.code == 0, done.err


def test_a_lock_for_other_sources_is_told_and_mended_where_uv_is_gpuenvs_own(
    machine: Machine, app: Path, tmp_path: Path
) -> None:
    given = {"PATH": "/usr/bin:/bin"}
    path = app / "pyproject.toml"
    with IndexSimulator() as own:
        own.publish(make_wheel(tmp_path / "own", "common", "1.0"))
        named = f'\n[[tool.uv.index]]\nname = "own"\nurl = "{own.index_url}"\nexplicit = true\n'
        sources = '\n[tool.uv.sources]\ncommon = { index = "own" }\n'
        path.write_text(path.read_text(encoding="utf-8") + named + sources, encoding="utf-8")
        stale = machine.gpuenv(app, "prepare", "--target", TARGET, given=given)
        assert stale.code == 1
        (cause,) = stale.message.causes
        assert "sources" in cause
        told = machine.gpuenv(app, "lock", given=given)
        assert told.message.hint == stale.message.hint
        assert stale.message.hint is not None
        words = shlex.split(stale.message.hint.split("`")[1])
        assert Path(words[0]).is_absolute()
        mended = machine.run(app, *words, given=given)
        assert mended.code == 0, mended.err
        own.publish(make_wheel(tmp_path / "own", "common", "2.0"))
        upgraded = machine.gpuenv(app, "lock", "--upgrade", given=given)
        assert f"changed `{app / 'uv.lock'}`\n  common: 1.0 -> 2.0" in upgraded.out


def test_a_malformed_pyproject_is_1(prepared: Prepared) -> None:
    path = prepared.folder / "pyproject.toml"
    path.write_text("[project\n", encoding="utf-8")
    done = prepared.gpuenv("prepare")
    assert done.code == 1
    assert done.message.error == f"`{path}` is not valid"
    assert done.message.causes


def test_an_unknown_profile_is_2_and_lists_the_known_ones(prepared: Prepared) -> None:
    done = prepared.gpuenv("prepare", "--profile", "cu99")
    assert done.code == 2
    assert done.message.error == "there is no profile `cu99`"
    assert "`cu13`" in done.message.causes[0]


THREE_FAULTS = """\
schema: 1
name: Broken Name
cuda: 12
extras: [cu12]
index:
  - name: nvidia
"""


@pytest.fixture
def own_profiles(prepared: Prepared) -> Iterator[Path]:
    """The user's folder for profiles, which is gone again afterwards."""
    folder = prepared.machine.home / "config" / "gpuenv" / "profiles"
    folder.mkdir(parents=True)
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_a_profile_with_three_faults_is_2_and_shows_all_three(
    prepared: Prepared, own_profiles: Path
) -> None:
    (own_profiles / "broken.yaml").write_text(THREE_FAULTS, encoding="utf-8")
    for words in (["prepare"], ["select"], ["profiles"]):
        done = prepared.gpuenv(*words)
        assert done.code == 2
        assert done.message.error == f"profile `{own_profiles / 'broken.yaml'}` is not valid"
        keys = {cause.split("`")[1] for cause in done.message.causes}
        assert keys == {"name", "cuda", "index"}


def test_a_profile_that_is_no_yaml_is_2(prepared: Prepared, own_profiles: Path) -> None:
    (own_profiles / "broken.yaml").write_text("schema: [1\n", encoding="utf-8")
    done = prepared.gpuenv("prepare")
    assert done.code == 2
    assert done.message.error == f"profile `{own_profiles / 'broken.yaml'}` is not valid"
    assert done.message.causes


def test_a_profile_that_does_not_fit_is_7_with_its_numbers(prepared: Prepared) -> None:
    old = "driver=570.124.06,cuda=12.8,gpus=9.0"
    done = prepared.gpuenv("prepare", "--profile", "cu13", "--target", old)
    assert done.code == 7
    assert done.message.error == "profile `cu13` does not fit this host"
    assert done.message.causes == ("`cu13` needs driver >=580, host has `570.124.06`",)
    assert done.message.hint == "`--force` takes it all the same"


def test_force_takes_a_profile_that_does_not_fit(warm: Machine, app: Path) -> None:
    old = "driver=570.124.06,cuda=12.8,gpus=9.0"
    words = ["prepare", "--only", "--profile", "cu13", "--force", "--target", old]
    done = warm.gpuenv(app, *words)
    assert done.code == 0, done.err
    assert line_of(app / ".venv") == "cu13"
    assert "warning: `cu13` needs driver >=580, host has `570.124.06`" in done.out


def test_a_host_that_nothing_fits_is_7_with_every_reason(prepared: Prepared) -> None:
    done = prepared.gpuenv("prepare", "--target", "driver=570.124.06,cuda=12.8,gpus=3.7")
    assert done.code == 7
    assert done.message.error == "no profile fits this host"
    assert "`cu13` needs driver >=580, host has `570.124.06`" in done.message.causes
    assert "`cu12` has no code for compute capability `3.7`" in done.message.causes
    assert done.message.hint == "`gpuenv prepare --profile cpu` sets up the CPU environment"


def test_a_target_with_three_faults_is_2_and_shows_all_three(prepared: Prepared) -> None:
    done = prepared.gpuenv("prepare", "--target", "driver=x,gpus=9,colour=green")
    assert done.code == 2
    assert done.message.error == "target `driver=x,gpus=9,colour=green` is not valid"
    said = " ".join(done.message.causes)
    assert len(done.message.causes) == 3
    assert all(word in said for word in ("`driver=`", "`gpus=`", "`colour=green`"))


def test_a_target_file_that_is_not_there_is_2(prepared: Prepared) -> None:
    done = prepared.gpuenv("prepare", "--target", "nowhere.json")
    assert done.code == 2
    assert done.message.error == f"there is no target `{prepared.folder / 'nowhere.json'}`"


def test_a_target_file_with_faults_is_2_and_shows_all(prepared: Prepared, tmp_path: Path) -> None:
    path = tmp_path / "target.json"
    path.write_text('{"platform": {"system": "plan9"}, "gpus": 3}', encoding="utf-8")
    done = prepared.gpuenv("prepare", "--target", path)
    assert done.code == 2
    assert done.message.error == f"target `{path}` is not valid"
    assert len(done.message.causes) >= 2


def test_a_package_that_does_not_build_is_1_and_leaves_no_environment(
    prepared: Prepared, index: IndexSimulator, locker: Locker, tmp_path: Path
) -> None:
    broken = make_sdist(
        tmp_path, "unbuildable", "1.0", static=True, build_requires=["no-such-package"]
    )
    index.publish(broken)
    need(prepared, "unbuildable", locker)
    machine = prepared.machine
    before = machine.environments()
    blobs = machine.blobs()
    done = prepared.gpuenv("prepare")
    assert done.code == 1
    assert any("no-such-package" in cause for cause in done.message.causes)
    assert machine.environments() == before
    # The file itself is good, and stays for the next try.
    added = machine.blobs() - blobs
    assert added == {hashlib.sha256(broken.read_bytes()).hexdigest()}
    for name in added:
        (machine.store / "blobs" / "sha256" / name[:2] / name).unlink()


def on_a_small_disk(
    machine: Machine,
    size: int,
    folder: Path,
    *steps: str,
    where: Path | None = None,
    more: str = "",
) -> Done:
    """Run shell steps where the store, or another folder, is on a file system of so many bytes.

    `more` are further options of the file system.
    """
    where = where or machine.store
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small file system to fill")
    where.mkdir(exist_ok=True)
    script = "\n".join(
        [
            "set -u",
            f'mount -t tmpfs -o size={size}{more} gpuenv-test "{where}" || exit 77',
            *steps,
        ]
    )
    gpuenv = " ".join(f"'{word}'" for word in GPUENV)
    done = machine.run(
        folder, "unshare", "-m", "sh", "-c", script, given={"GPUENV_COMMAND": gpuenv}
    )
    if done.code == 77:
        pytest.skip("this user may not mount a small file system to fill")
    return done


LIST = 'cd "$GPUENV_STORE" && find blobs envs partial -name "*.lock" -o -print'


@pytest.mark.parametrize("flavour", ["nvidia", "pypi"])
def test_a_full_disk_is_5_and_keeps_what_was_there(
    machine: Machine, tmp_path: Path, flavour: Flavour
) -> None:
    # PyPI tells sizes, so that nothing is begun; NVIDIA's index does not.
    with IndexSimulator(flavour) as own:
        own.publish(make_wheel(tmp_path, "common", "1.0"))
        own.publish(make_wheel(tmp_path, "lean-cu13", "1.0", size=2 * FULL))
        folder = Project(lines=("cu13",), packages=("lean",)).write(tmp_path / "app", own.index_url)
        locked = machine.uv(folder, "lock")
        assert locked.code == 0, locked.err
        own.reset_log()
        done = on_a_small_disk(
            machine,
            FULL,
            folder,
            f"eval $GPUENV_COMMAND prepare --only --profile cpu --target {TARGET} -q || exit 99",
            f'({LIST}) | sort > "{tmp_path}/before"; readlink .venv >> "{tmp_path}/before"',
            f"eval $GPUENV_COMMAND prepare --profile cu13 --target {TARGET} -q",
            "code=$?",
            f'({LIST}) | sort > "{tmp_path}/after"; readlink .venv >> "{tmp_path}/after"',
            "exit $code",
        )
    assert done.code == 5, done.err
    assert "room" in done.message.error or "space" in done.message.error
    assert done.message.hint == STORE_FULL
    assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()
    if flavour == "pypi":
        assert own.gets("lean_cu13-1.0-py3-none-any.whl") == 0


def one_large_wheel(machine: Machine, tmp_path: Path, own: IndexSimulator) -> Path:
    """A locked project that needs a wheel of two MiB, of known size."""
    own.publish(make_wheel(tmp_path, "common", "1.0"))
    own.publish(make_wheel(tmp_path, "lean-cu13", "1.0", size=2 * FULL))
    folder = Project(lines=("cu13",), packages=("lean",)).write(tmp_path / "app", own.index_url)
    assert machine.uv(folder, "lock").code == 0
    own.reset_log()
    return folder


@pytest.mark.parametrize("more", ["", " --dry-run"])
def test_where_uvs_cache_has_no_room_to_unpack_nothing_is_fetched(
    machine: Machine, tmp_path: Path, more: str
) -> None:
    with IndexSimulator("pypi") as own:
        folder = one_large_wheel(machine, tmp_path, own)
        cache = machine.root / "uv-cache"
        words = f"prepare --only --target {TARGET} -q{more}"
        done = on_a_small_disk(machine, FULL, folder, f"eval $GPUENV_COMMAND {words}", where=cache)
    assert done.code == 5, done.err
    assert done.message.error == "there is no room for what is to be prepared"
    (cause,) = done.message.causes
    assert cause.startswith(f"`{cache}` (`tmpfs`): needed are at least 2.1 MB to unpack in uv's ca")
    assert "UV_CACHE_DIR" in (done.message.hint or "")
    assert own.file_bytes_served() == 0


def test_where_there_are_too_few_inodes_nothing_is_fetched(
    machine: Machine, tmp_path: Path
) -> None:
    with IndexSimulator("pypi") as own:
        folder = one_large_wheel(machine, tmp_path, own)
        words = f"prepare --only --target {TARGET} -q"
        done = on_a_small_disk(
            machine, 99 * FULL, folder, f"eval $GPUENV_COMMAND {words}", more=",nr_inodes=28"
        )
    assert done.code == 5, done.err
    (cause,) = done.message.causes
    assert "needed are at least 24 inodes, free are " in cause
    assert own.file_bytes_served() == 0


def test_what_was_there_of_a_file_needs_no_room_again(machine: Machine, tmp_path: Path) -> None:
    with IndexSimulator("pypi") as own:
        folder = one_large_wheel(machine, tmp_path, own)
        name = "lean_cu13-1.0-py3-none-any.whl"
        own.break_at(name, FULL * 3 // 2, times=None)
        words = f"prepare --fetch-only --only --target {TARGET} -q"
        done = on_a_small_disk(
            machine,
            FULL * 7 // 2,
            folder,
            f"eval $GPUENV_COMMAND {words} && exit 98",
            # What else is needed could not be there beside another whole copy.
            f'head -c {FULL * 5 // 4} /dev/zero > "$GPUENV_STORE/filler"',
            f"eval $GPUENV_COMMAND prepare --dry-run --fetch-only --only --target {TARGET} --json",
        )
    assert done.code == 0, done.err
    (room,) = done.data["room"]
    assert room["type"] == "tmpfs"
    assert room["free_bytes"] < 2 * FULL
    assert 0 < room["needed_bytes"] <= FULL
    (missing,) = [item for item in done.data["missing"] if item["name"] == name]
    assert missing["bytes"] > FULL
    assert done.data["arrived"] > 0
    assert done.data["short"] == []


def test_a_disk_that_is_full_for_the_environment_is_5_and_leaves_none(
    machine: Machine, tmp_path: Path
) -> None:
    with IndexSimulator() as own:
        own.publish(make_wheel(tmp_path, "common", "1.0"))
        own.publish(make_wheel(tmp_path, "lean-cu13", "1.0", size=2 * FULL))
        folder = Project(lines=("cu13",), packages=("lean",)).write(tmp_path / "app", own.index_url)
        assert machine.uv(folder, "lock").code == 0
        # The file fits, the environment, a copy of it on another file system, does not.
        done = on_a_small_disk(
            machine,
            3 * FULL,
            folder,
            f"eval $GPUENV_COMMAND prepare --only --target {TARGET} -q",
            "code=$?",
            f'ls "$GPUENV_STORE/envs" > "{tmp_path}/environments"',
            "exit $code",
        )
    assert done.code == 5, done.err
    assert done.message.causes or done.message.hint
    assert (tmp_path / "environments").read_text() == ""
    assert not (folder / ".venv").is_symlink()


def test_a_switch_on_a_full_disk_of_the_project_is_5_and_changes_nothing(
    warm: Machine, app: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    done = on_a_small_disk(
        warm,
        FULL,
        app,
        f'cp pyproject.toml uv.lock "{small}" && cd "{small}"',
        f"eval $GPUENV_COMMAND prepare --target {TARGET} -q || exit 99",
        "readlink .venv; cat /dev/zero > filler 2> /dev/null",
        # What was a whole block before may be written into again.
        "eval $GPUENV_COMMAND switch cu12; echo $?; rm .gpuenv/lock",
        "eval $GPUENV_COMMAND switch cu12; echo $?; readlink .venv; rm filler",
        "eval $GPUENV_COMMAND switch cu12 -q; echo $?; ls -A . .gpuenv | grep '[.]gpuenv[.]'",
        where=small,
    )
    was, *codes, last = done.out.split()
    assert codes == ["5", "5", was]
    assert last == "0"
    for said in done.err.strip().split("error: ")[1:]:
        assert said.strip() == (
            f"no space left on the file system of `{small}`\n\n"
            "hint: free some space there; what was active is so still"
        )


def test_a_store_that_is_no_folder_is_1(machine: Machine, app: Path) -> None:
    machine.store.write_text("", encoding="utf-8")
    done = machine.gpuenv(app, "prepare", "--target", TARGET)
    assert done.code == 1
    assert done.message.error == f"cannot open the store `{machine.store}`"


def test_a_store_of_another_format_is_1(machine: Machine, app: Path) -> None:
    machine.store.mkdir()
    (machine.store / "VERSION").write_text("99\n", encoding="utf-8")
    done = machine.gpuenv(app, "prepare", "--target", TARGET)
    assert done.code == 1
    assert done.message.causes == ("this gpuenv knows format `1`, the store has `99`",)


def test_a_first_prepare_that_fails_leaves_no_link(
    machine: Machine, app: Path, index: IndexSimulator
) -> None:
    index.fail(SDISTS["cu13"], 404)
    done = machine.gpuenv(app, "prepare", "--only", "--target", TARGET)
    assert done.code == 3
    assert not (app / ".venv").is_symlink()
    assert machine.environments() == set()
    index.heal()
    again = machine.gpuenv(app, "prepare", "--only", "--target", TARGET)
    assert again.code == 0, again.err
    assert line_of(app / ".venv") == "cu13"
