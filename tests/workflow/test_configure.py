"""Which settings of uv and pip are found wanting, why, and what no file can do."""

from __future__ import annotations

import http.server
import threading
import time
import tomllib
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._origin import Request
from provisioner.adapters.http import Http
from provisioner.adapters.serving import Server, announced
from provisioner.adapters.store import Store
from provisioner.cli.configure import render_configure
from provisioner.errors import GpuenvError, PolicyError, UsageError
from provisioner.workflow.configure import PIP_CANNOT, ConfigureResult, configure
from provisioner.workflow.progress import Quiet
from provisioner.workflow.pull import Pull
from provisioner.workflow.world import Options, World
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROJECT = '[project]\nname = "app"\nversion = "1.0"\n'
WHEEL = "demo-1.0-py3-none-any.whl"
FILES = "max-age=365000000, immutable"


class User:
    """A user with a project, and settings that they wrote."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.folder = root / "app"
        self.store = root / "store"
        self.config = self.home / ".config"
        self.folder.mkdir()

    def write(self, path: Path, text: str) -> Path:
        """Write a file, and its folders."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def project(self, text: str) -> Path:
        """Write what a `pyproject.toml` says beside its name."""
        return self.write(self.folder / "pyproject.toml", PROJECT + text)

    def keep_page(self, url: str) -> None:
        """Let the store have an index page."""
        store = Store(self.store)
        store.open()
        client = Http(self.variables(), connections=1)
        try:
            pull = Pull(store, client, (), Quiet(), offline=False)
            with pull.answer(Request(method="GET", url=url, headers={})):
                pass
        finally:
            client.close()

    def variables(self, **more: str) -> dict[str, str]:
        """The variables of a command."""
        return {"NETRC": str(self.home / "no-netrc"), **more}

    def configure(
        self,
        *,
        write: bool = False,
        offline: bool = False,
        serve_url: str | None = None,
        variables: dict[str, str] | None = None,
    ) -> ConfigureResult:
        """Run it; what it says can be shown."""
        world = World(
            variables=self.variables(**(variables or {})),
            home=self.home,
            folder=self.folder,
            now=time.time,
        )
        options = Options(store=self.store, offline=offline)
        found = configure(world, options, write=write, serve_url=serve_url)
        shown = render_configure(found)
        assert all(item.diff in shown for item in found.files)
        assert all(note in shown for note in found.notes)
        assert ("nothing to change" in shown) is (not found.files)
        return found


@pytest.fixture
def user(tmp_path: Path) -> User:
    """A user whose store is empty."""
    return User(tmp_path)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[IndexSimulator]:
    """An index in the manner of NVIDIA's, on a name that nobody knows."""
    with IndexSimulator() as started:
        started.publish(make_wheel(tmp_path / "wheels", "demo", "1.0"))
        yield started


def uv_index(url: str, name: str = "own", table: str = "tool.uv.index") -> str:
    return f'\n[[{table}]]\nname = "{name}"\nurl = "{url}" # here\n'


def controls(path: Path) -> list[dict[str, str] | None]:
    """What each index of a file says."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    data = data if path.name == "uv.toml" else data["tool"]["uv"]
    return [item.get("cache-control") for item in data["index"]]


def test_an_index_whose_files_come_with_no_store_gets_the_entry_and_says_why(
    user: User, index: IndexSimulator
) -> None:
    path = user.project(uv_index(index.index_url))
    before = path.read_bytes()
    user.keep_page(f"{index.index_url}demo/")

    found = user.configure()

    assert path.read_bytes() == before
    ((change,),) = (item.changes for item in found.files)
    assert "`own`" in change.what
    assert WHEEL in change.why
    assert "no-store" in change.why
    (file,) = found.files
    assert file.diff.startswith("--- a/pyproject.toml\n+++ b/pyproject.toml\n")
    assert [line for line in file.diff.splitlines() if line.startswith("-")] == [
        "--- a/pyproject.toml"
    ]
    assert PIP_CANNOT in found.notes

    assert [item.written for item in user.configure(write=True).files] == [True]
    assert controls(path) == [{"api": "max-age=600", "files": FILES}]
    index.reset_log()
    assert user.configure(write=True).files == ()


def test_an_index_that_nobody_has_asked_yet_is_asked_and_offline_it_is_said(
    user: User, index: IndexSimulator
) -> None:
    user.project(uv_index(index.index_url))
    offline = user.configure(offline=True)
    assert (offline.files, index.requests) == ((), [])
    (note,) = offline.notes
    assert f"`{index.index_url}`" in note
    assert note.endswith("is not known: nothing is asked with `--offline`")
    assert len(user.configure().files) == 1
    index.stop()
    (note,) = user.configure().notes
    assert f"is not known: could not fetch `{index.index_url}`: " in note


def test_kept_pages_do_where_the_index_cannot_be_asked(user: User, index: IndexSimulator) -> None:
    user.project(uv_index(index.index_url))
    user.keep_page(f"{index.index_url}demo/")
    index.stop()
    ((change,),) = (item.changes for item in user.configure(offline=True).files)
    assert f"{index.index_url}demo/" in change.why


def test_an_index_whose_files_may_be_kept_is_left_alone(user: User, tmp_path: Path) -> None:
    with IndexSimulator("pypi") as good:
        good.publish(make_wheel(tmp_path / "w", "demo", "1.0"))
        user.project(uv_index(good.index_url) + uv_index("https://pypi.org/simple", "pypi"))
        user.keep_page(f"{good.index_url}demo/")
        found = user.configure()
    assert (found.files, found.notes) == ((), ())


def test_shipped_rules_and_the_projects_profiles_need_no_network(user: User) -> None:
    profile = (
        'schema: 1\nname: own\ncuda: "12"\nindexes:\n'
        '  - {name: mirror, url: "https://mirror.test/nvidia/", '
        'cache-control: {files: "max-age=99"}}\n'
    )
    user.write(user.folder / "profiles" / "own.yaml", profile)
    path = user.project(
        uv_index("https://pypi.nvidia.com", "nvidia") + uv_index("https://mirror.test/nvidia", "m")
    )
    found = user.configure(write=True, offline=True)
    assert controls(path) == [
        {"api": "max-age=600", "files": FILES},
        {"api": "max-age=600", "files": "max-age=99"},
    ]
    (first, second) = found.files[0].changes
    assert first.why.endswith("by gpuenv's defaults")
    assert "own.yaml" in second.why
    assert user.configure(offline=True).files == ()


@pytest.mark.parametrize("line", ["cu12", "cu13"])
def test_a_reason_names_a_profile_that_the_project_has_an_extra_for(user: User, line: str) -> None:
    user.project(
        f"[project.optional-dependencies]\n{line} = []\n" + uv_index("https://pypi.nvidia.com")
    )
    (change,) = user.configure(offline=True).files[0].changes
    assert f"by profile `{line}`" in change.why


def test_the_file_that_uv_takes_decides_and_hides_the_weaker_one(user: User) -> None:
    url = "https://pypi.nvidia.com/"
    hidden = user.project(uv_index(url))
    strong = user.write(user.folder / "uv.toml", uv_index(url, table="index"))
    of_user = user.write(
        user.config / "uv" / "uv.toml",
        uv_index(url, table="index")
        + uv_index("https://download.pytorch.org/whl/cu126", table="index"),
    )
    before = hidden.read_bytes()
    found = user.configure(write=True, offline=True)
    assert [item.path for item in found.files] == [strong, of_user]
    assert hidden.read_bytes() == before
    # An entry of the user's does nothing for the project's index of the same URL.
    assert controls(of_user) == [None, {"api": "max-age=600", "files": FILES}]


def test_indexes_in_older_forms_and_variables_are_told_of_and_left(user: User) -> None:
    path = user.project('\n[tool.uv]\nextra-index-url = ["https://me:word@pypi.nvidia.com/"]\n')
    before = path.read_bytes()
    torch = "https://download.pytorch.org/whl/cu126"
    found = user.configure(write=True, offline=True, variables={"UV_INDEX": f"pt={torch}"})
    assert (found.files, path.read_bytes()) == ((), before)
    older = [note for note in found.notes if "`extra-index-url`" in note]
    assert "https://***@pypi.nvidia.com/" in older[0]
    assert "index = [" in older[0]
    assert "word" not in "".join(found.notes)
    assert any("`UV_INDEX`" in note and torch in note for note in found.notes)


def test_settings_of_the_whole_machine_are_told_of_and_left(user: User, tmp_path: Path) -> None:
    system = tmp_path / "system"
    user.project("")
    user.write(system / "uv" / "uv.toml", uv_index("https://pypi.nvidia.com/", table="index"))
    user.write(system / "pip" / "pip.conf", "[global]\nno-cache-dir = true\n")
    found = user.configure(write=True, offline=True, variables={"XDG_CONFIG_DIRS": str(system)})
    assert found.files == ()
    assert any(str(system / "uv" / "uv.toml") in note for note in found.notes)
    assert any(str(system / "pip" / "pip.conf") in note for note in found.notes)


def test_what_cannot_be_added_to_is_told_and_the_rest_is_written(user: User) -> None:
    project = "[tool.uv.pip]\n[tool.uv]\n[tool]\n" + uv_index("https://pypi.nvidia.com")
    path = user.project(project)
    pip = user.write(user.config / "pip" / "pip.conf", "[global]\nno-cache-dir = 1\n")

    result = user.configure(write=True, offline=True)

    assert [item.path for item in result.files] == [pip]
    assert pip.read_text(encoding="utf-8") == "[global]\n"
    assert path.read_text(encoding="utf-8") == PROJECT + project
    assert any("`cache-control` of index" in note and str(path) in note for note in result.notes)
    assert any("by hand" in note and str(path) in note for note in result.notes)


def test_pip_keeps_again_what_it_fetches_and_can_be_sent_to_serve(user: User) -> None:
    path = user.write(
        user.config / "pip" / "pip.conf",
        "[global]\n# of nvidia-pyindex\nno-cache-dir = true\n"
        "extra-index-url =\n    https://pypi.nvidia.com\n",
    )
    user.project("")
    url = "http://127.0.0.1:8199/simple/"
    ((first,),) = (item.changes for item in user.configure().files)
    assert "no-cache-dir" in first.what
    (note,) = (text for text in user.configure(serve_url=url).notes if "extra" in text)
    assert "stays: pip downloads from `https://pypi.nvidia.com` too" in note
    user.configure(write=True, serve_url=url)
    assert path.read_text(encoding="utf-8") == (
        "[global]\n# of nvidia-pyindex\n"
        f"extra-index-url =\n    https://pypi.nvidia.com\nindex-url = {url}\n"
    )
    assert user.configure(serve_url=url).files == ()


def test_the_index_that_a_server_takes_the_place_of_is_told(user: User) -> None:
    user.write(user.config / "pip" / "pip.conf", "[global]\nindex-url = https://a:b@corp.test/\n")
    ((change,),) = (
        item.changes for item in user.configure(serve_url="http://127.0.0.1:8199/simple/").files
    )
    assert "`--index https://***@corp.test/`" in change.why


def test_pips_file_is_made_where_there_is_none_and_variables_against_it_are_told(
    user: User,
) -> None:
    named = user.home / "own.conf"
    given = {"PIP_CONFIG_FILE": str(named), "PIP_INDEX_URL": "x", "PIP_NO_CACHE_DIR": "1"}
    found = user.configure(write=True, serve_url="http://127.0.0.1:1/", variables=given)
    assert [item.path for item in found.files] == [named]
    assert "index-url = http://127.0.0.1:1/simple/" in named.read_text(encoding="utf-8")
    for name in ("PIP_INDEX_URL", "PIP_NO_CACHE_DIR"):
        assert any(name in note for note in found.notes)
    given["PIP_CONFIG_FILE"] = "/dev/null"
    found = user.configure(write=True, serve_url="http://127.0.0.1:1/simple/", variables=given)
    assert found.files == ()
    assert any("PIP_CONFIG_FILE" in note for note in found.notes)


def test_pip_is_not_sent_to_a_server_that_happens_to_run_but_it_is_told_how(user: User) -> None:
    class Answering(http.server.BaseHTTPRequestHandler):
        server_version = "gpuenv/0"

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
            """Keep quiet."""

    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/simple/"
        user.store.mkdir()
        with announced(user.store, Server(url=url)):
            found = user.configure(write=True)
        server.shutdown()
    assert found.files == ()
    assert any(f"--serve-url {url}" in note for note in found.notes)
    assert user.configure().notes == ()


def test_a_server_without_encryption_beyond_this_machine_has_to_be_trusted(user: User) -> None:
    url = "http://store.test:8199/simple/"
    assert any("`trusted-host`" in note for note in user.configure(serve_url=url).notes)
    trusted = user.configure(serve_url=url, variables={"PIP_TRUSTED_HOST": "store.test"})
    assert trusted.notes == ()


def test_what_is_no_url_is_a_wrong_use(user: User) -> None:
    with pytest.raises(UsageError):
        user.configure(serve_url="127.0.0.1:8199")


@pytest.mark.parametrize("name", ["pyproject.toml", "uv.toml"])
def test_a_malformed_file_is_named_with_its_line(user: User, name: str) -> None:
    user.project("")
    path = user.write(user.folder / name, PROJECT + "broken =\nmore = 1\n")
    with pytest.raises(GpuenvError) as caught:
        user.configure()
    assert str(path) in caught.value.message
    assert "line" in caught.value.causes[0]


def test_one_read_only_file_keeps_all_of_them_from_being_written(user: User) -> None:
    first = user.project(uv_index("https://pypi.nvidia.com/"))
    second = user.write(user.config / "pip" / "pip.conf", "[global]\nno-cache-dir = 1\n")
    second.chmod(0o444)
    before = first.read_bytes()
    with pytest.raises(PolicyError) as caught:
        user.configure(write=True, offline=True)
    assert (caught.value.exit_code, first.read_bytes()) == (8, before)
    assert len(user.configure(offline=True).files) == 2
