"""Where files come from, what is sent along to ask for them, and what is said of it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.cli.projects import TARGET, WHEELS, Project, downloads
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.machine import Done, Machine

USER, IN_URL, IN_NETRC = "someone", "in-Url+5ecret", "in-Netrc+5ecret"
PROFILE = """\
schema: 1
name: cu12
cuda: "12"
extras: [cu12]
indexes:
  - {{name: own, url: "{url}", packages: ["lean*"]}}
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[IndexSimulator]:
    """An index that has one package alone, and demands what stands in its URL."""
    with IndexSimulator(credentials=(USER, IN_URL)) as started:
        started.publish(make_wheel(tmp_path / "w", "lean-cu12", "1.0", size=9_000_000))
        yield started


@pytest.fixture
def private(tmp_path: Path) -> Iterator[IndexSimulator]:
    """An index for the rest, which demands what netrc knows."""
    with IndexSimulator("pypi", credentials=(USER, IN_NETRC)) as started:
        started.publish(make_wheel(tmp_path / "w", "common", "1.0"))
        yield started


def write_lean(folder: Path, url: str) -> Path:
    """A project that gpuenv locks, with a profile that binds a package to an index."""
    project = Project(uv=False, lines=("cu12",), packages=("lean",))
    project.write(folder, "")
    (folder / "profiles").mkdir()
    (folder / "profiles" / "cu12.yaml").write_text(PROFILE.format(url=url), encoding="utf-8")
    return folder


def secrets() -> set[bytes]:
    """The passwords, in every form in which they could be written."""
    found = set()
    for word in (IN_URL, IN_NETRC):
        basic = base64.b64encode(f"{USER}:{word}".encode())
        found |= {word.encode(), quote(word, safe="").encode(), basic}
    return found


def leaks(folder: Path) -> set[str]:
    """The files below a folder that hold a password."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
        if any(secret in path.read_bytes() for secret in secrets())
    }


def test_no_password_stands_in_anything_that_is_kept_or_said(
    machine: Machine, tmp_path: Path, own: IndexSimulator, private: IndexSimulator
) -> None:
    folder = write_lean(tmp_path / "app", own.authenticated_index_url)
    netrc = machine.home / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login {USER} password {IN_NETRC}\n", encoding="utf-8")
    netrc.chmod(0o600)
    given = {"UV_DEFAULT_INDEX": private.index_url}
    done: list[Done] = []

    def gpuenv(*words: str) -> Done:
        done.append(machine.gpuenv(folder, *words, given=given))
        return done[-1]

    own.break_at("lean_cu12-1.0-py3-none-any.whl", 8_500_000, times=None)
    broken = gpuenv("prepare", "-v", "--json", "--target", TARGET)
    assert broken.code == 3, broken.err
    assert list((machine.store / "partial").glob("*/journal*"))
    own.corrupt(WHEELS["cu12"], times=1)
    assert leaks(machine.store) == set()
    own.heal()
    assert gpuenv("prepare", "-v", "--json").code == 0, done[-1].err
    for words in (
        ("status", "--json"),
        ("doctor", "--json"),
        ("store", "list", "--json"),
        ("store", "policy", f"{own.authenticated_index_url}lean-cu12/"),
        ("store", "policy", f"{own.authenticated_index_url}lean-cu12/", "--json"),
        ("profiles", "--json"),
    ):
        assert gpuenv(*words).code == 0, done[-1].err

    assert leaks(machine.store) == set()
    assert leaks(folder) == {"profiles/cu12.yaml"}
    said = "".join(item.out + item.err for item in done).encode()
    assert not any(secret in said for secret in secrets())
    # Both passwords were needed, and each went to its own server.
    basic = {
        server: {request.headers.get("authorization") for request in server.requests}
        for server in (own, private)
    }
    of_own, of_private = (
        f"Basic {base64.b64encode(f'{USER}:{word}'.encode()).decode()}"
        for word in (IN_URL, IN_NETRC)
    )
    assert of_own in basic[own]
    assert of_private not in basic[own]
    assert of_private in basic[private]
    assert of_own not in basic[private]


def test_a_lock_of_gpuenvs_names_the_indexes_and_another_one_is_refused(
    machine: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    with IndexSimulator("pypi") as common:
        common.publish(make_wheel(tmp_path / "w", "common", "1.0"))
        folder = write_lean(tmp_path / "app", index.index_url)
        given = {"UV_DEFAULT_INDEX": common.index_url}
        words = ("--profile", "cu12", "--target", TARGET)
        assert machine.gpuenv(folder, "lock", *words, given=given).code == 0
        lock = folder / "pylock.cu12.toml"
        text = lock.read_text(encoding="utf-8")
        assert f'index = "{index.url}"' in text
        assert f'index = "{common.url}/simple"' in text
        assert machine.gpuenv(folder, "prepare", *words, given=given).code == 0
        # uv has the pages in its own cache now, and asks for them no more.
        lock.unlink()
        assert machine.gpuenv(folder, "lock", *words, given=given).code == 0
        assert lock.read_text(encoding="utf-8") == text

        lock.write_text(text.replace(f'"{index.url}"', f'"{common.index_url}"'), encoding="utf-8")
        done = machine.gpuenv(folder, "prepare", *words, given=given)

    assert done.code == 8, done.err
    (cause,) = done.message.causes
    assert "lean_cu12" in cause
    assert common.index_url in cause
    assert index.index_url in cause
    assert "profile `cu12`" in cause
    assert done.message.hint is not None
    assert "gpuenv lock --upgrade" in done.message.hint


SOURCES = """
[tool.uv.sources]
lean-cu12 = [{{ index = "own", extra = "cu12" }}]

[[tool.uv.index]]
name = "own"
url = "{url}"
explicit = true
"""


def test_a_lock_of_uvs_that_names_another_index_than_the_project_is_refused_before_any_byte(
    machine: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    with IndexSimulator() as other:
        other.publish(make_wheel(tmp_path / "other", "lean-cu12", "1.0"))
        project = Project(packages=("lean",), more=SOURCES.format(url=other.index_url))
        folder = project.write(tmp_path / "app", index.index_url)
        assert machine.uv(folder, "lock").code == 0
        lock = folder / "uv.lock"
        text = lock.read_text(encoding="utf-8")
        registry = f'version = "1.0"\nsource = {{ registry = "{other.index_url}" }}'
        assert registry in text
        lock.write_text(text.replace(registry, registry.replace(other.url, index.url)), "utf-8")
        # uv takes this lock as it is.
        assert machine.uv(folder, "lock", "--check").code == 0
        for server in (index, other):
            server.reset_log()

        done = machine.gpuenv(folder, "prepare", "--target", TARGET)

        assert done.code == 8, done.err
        assert "lean_cu12" in "".join(done.message.causes)
        assert other.index_url in "".join(done.message.causes)
        assert index.requests == other.requests == []
        assert machine.blobs() == set()
        words = ("doctor", "--json", "--profile", "cu12", "--target", TARGET)
        found = machine.gpuenv(folder, *words)
        assert (found.code, found.envelope["errors"][0]["code"]) == (8, "wrong-index")

        lock.write_text(text, encoding="utf-8")
        assert machine.gpuenv(folder, "prepare", "--target", TARGET).code == 0
        assert set(downloads(other)) == {WHEELS["cu12"]}


def test_a_file_that_lies_in_another_index_than_uvs_lock_records_is_refused(
    machine: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    with IndexSimulator() as other:
        other.publish(make_wheel(tmp_path / "other", "lean-cu12", "1.0"))
        project = Project(packages=("lean",), more=SOURCES.format(url=other.index_url))
        folder = project.write(tmp_path / "app", index.index_url)
        assert machine.uv(folder, "lock").code == 0
        lock = folder / "uv.lock"
        text = lock.read_text(encoding="utf-8")
        found = f"{other.url}/lean-cu12/{WHEELS['cu12']}"
        assert found in text
        lock.write_text(text.replace(found, found.replace(other.url, index.url)), "utf-8")
        index.reset_log()

        done = machine.gpuenv(folder, "prepare", "--target", TARGET)

        assert (done.code, index.requests) == (8, []), done.err
        (cause,) = done.message.causes
        assert index.index_url in cause
        assert other.index_url in cause


def test_plain_http_to_a_host_that_nobody_allowed_ends_with_8_and_names_it(
    machine: Machine, app: Path
) -> None:
    lock = app / "uv.lock"
    for path in (lock, app / "pyproject.toml"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("127.0.0.1", "index.test"), encoding="utf-8")

    done = machine.gpuenv(app, "prepare", "--target", TARGET)

    assert done.code == 8, done.err
    assert done.message.error == "`index.test` may not be asked without encryption"
    assert "UV_INSECURE_HOST=index.test" in (done.message.hint or "")
    assert machine.blobs() == set()
    found = machine.gpuenv(app, "doctor", "--json", "--target", TARGET)
    assert (found.code, found.envelope["errors"][0]["code"]) == (8, "insecure-host")
    # Allowed, it is asked, and is not there.
    allowed = machine.gpuenv(app, "prepare", given={"PIP_TRUSTED_HOST": "index.test"})
    assert allowed.code == 3, allowed.err


def test_a_url_is_explained_in_one_envelope_and_what_is_none_is_a_wrong_use(
    machine: Machine, tmp_path: Path
) -> None:
    url = "https://pypi.nvidia.com/tensorrt/"
    data = machine.gpuenv(tmp_path, "store", "policy", url, "--offline", "--json").data
    assert (data["kind"], data["policy"]["lifetime"]) == ("page", 600)
    assert machine.gpuenv(tmp_path, "store", "policy", "tensorrt").code == 2
