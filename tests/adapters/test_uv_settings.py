"""uv's settings, compared with the index that the real uv asks."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.uv_settings import (
    has_default_index,
    index_credentials,
    proxies,
    safe_settings,
    settings_files,
)
from tests.simulators.environment import clean_environment, uv_binary
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INDEX = "https://index.test/simple/"
Files = dict[str, str]

NAMED: dict[str, Files] = {
    "uv.toml": {"work/project/uv.toml": 'index-url = "{url}"\n'},
    "an index that is the default": {
        "work/project/uv.toml": '[[index]]\nurl = "{url}"\ndefault = true\n'
    },
    "the project": {"work/project/pyproject.toml": '[tool.uv]\nindex-url = "{url}"\n'},
    "the pip interface": {"work/project/pyproject.toml": '[tool.uv.pip]\nindex-url = "{url}"\n'},
    "a folder above": {"work/uv.toml": 'index-url = "{url}"\n'},
    "the user": {"config/uv/uv.toml": 'index-url = "{url}"\n'},
    "the user beside the project": {
        "work/project/uv.toml": "native-tls = false\n",
        "config/uv/uv.toml": 'index-url = "{url}"\n',
    },
}
NOT_NAMED: dict[str, Files] = {
    "nothing": {},
    "an index that is none by default": {"work/project/uv.toml": '[[index]]\nurl = "{url}"\n'},
    "another tool's table": {"work/project/pyproject.toml": '[tool.other]\nindex-url = "{url}"\n'},
    "a folder above that a nearer file hides": {
        "work/project/uv.toml": "native-tls = false\n",
        "work/uv.toml": 'index-url = "{url}"\n',
    },
    "a project that its uv.toml hides": {
        "work/project/uv.toml": "native-tls = false\n",
        "work/project/pyproject.toml": '[tool.uv]\nindex-url = "{url}"\n',
    },
}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[IndexSimulator]:
    """An index that tells by its log whether uv asked it."""
    with IndexSimulator("pypi") as started:
        started.publish(make_wheel(tmp_path / "wheels", "base", "1.0"))
        yield started


def write(tmp_path: Path, files: Files, url: str) -> Path:
    """Write the settings; the folder of the project."""
    folder = tmp_path / "work" / "project"
    folder.mkdir(parents=True)
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{url}", url), encoding="utf-8")
    return folder


def takes_it_as_default(index: IndexSimulator, folder: Path, variables: dict[str, str]) -> bool:
    """Whether the real uv has the index as its default, so that pip's must not be."""
    # Whoever else would be the default is behind a proxy that is nobody.
    subprocess.run(
        [uv_binary(), "pip", "compile", "-q", "-p", sys.executable, "-"],
        input="base\n",
        cwd=folder,
        env={**variables, "UV_HTTP_TIMEOUT": "2", "UV_HTTP_RETRIES": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    return bool(index.requests)


def variables_of(tmp_path: Path, **more: str) -> dict[str, str]:
    """A user whose settings files count, in a world without any other index."""
    variables = clean_environment(tmp_path, UV_NO_CACHE="1", **more)
    del variables["UV_NO_CONFIG"]
    dead = "http://127.0.0.1:9"
    return {**variables, "HTTPS_PROXY": dead, "https_proxy": dead}


@pytest.mark.parametrize("case", NAMED)
def test_a_default_index_is_found_where_uv_finds_it(
    case: str, tmp_path: Path, index: IndexSimulator
) -> None:
    folder = write(tmp_path, NAMED[case], index.index_url)
    variables = variables_of(tmp_path)

    assert has_default_index(variables, tmp_path, folder)
    assert takes_it_as_default(index, folder, variables)


@pytest.mark.parametrize("case", NOT_NAMED)
def test_what_is_no_default_index_for_uv_is_none_for_us(case: str, tmp_path: Path) -> None:
    folder = write(tmp_path, NOT_NAMED[case], INDEX)

    assert not has_default_index(variables_of(tmp_path), tmp_path, folder)


def test_settings_that_a_nearer_file_hides_are_not_asked_by_uv(
    tmp_path: Path, index: IndexSimulator
) -> None:
    case = NOT_NAMED["a folder above that a nearer file hides"]
    folder = write(tmp_path, case, index.index_url)

    assert not takes_it_as_default(index, folder, variables_of(tmp_path))


def test_a_user_who_switches_settings_files_off_has_none(
    tmp_path: Path, index: IndexSimulator
) -> None:
    folder = write(tmp_path, NAMED["uv.toml"], index.index_url)
    variables = variables_of(tmp_path, UV_NO_CONFIG="1") | {"UV_NO_CONFIG": "1"}

    assert not takes_it_as_default(index, folder, variables)
    assert not has_default_index(variables, tmp_path, folder)


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_a_variable_names_a_default_index(name: str, tmp_path: Path) -> None:
    assert has_default_index({name: INDEX}, tmp_path, tmp_path)
    assert not has_default_index({name: ""}, tmp_path, tmp_path)


def test_a_named_file_is_the_only_one(tmp_path: Path) -> None:
    folder = write(tmp_path, NAMED["uv.toml"], INDEX)
    own = tmp_path / "own.toml"
    own.write_text("", encoding="utf-8")
    variables = {"UV_CONFIG_FILE": str(own)}

    assert settings_files(variables, tmp_path, folder) == (own,)
    assert not has_default_index(variables, tmp_path, folder)


@pytest.mark.parametrize("text", ["[[[", "index = 5\n", "pip = 5\n", 'index = ["x"]\n'])
def test_settings_that_are_not_valid_are_left_to_uv(text: str, tmp_path: Path) -> None:
    folder = write(tmp_path, {"work/project/uv.toml": text}, INDEX)

    assert not has_default_index({}, tmp_path, folder)
    assert index_credentials({}, tmp_path, folder) == {}


def test_credentials_belong_to_the_origin_of_their_index(tmp_path: Path) -> None:
    text = (
        '[[index]]\nname = "own"\nurl = "https://a.test/simple"\n'
        '[[index]]\nurl = "https://someone:p%40ss@b.test:8443/simple"\n'
        '[[index]]\nurl = "https://c.test/simple"\n'
    )
    folder = write(tmp_path, {"work/project/uv.toml": text}, INDEX)
    variables = {"UV_INDEX_OWN_USERNAME": "me", "UV_INDEX_OWN_PASSWORD": "secret"}

    assert index_credentials(variables, tmp_path, folder) == {
        "https://a.test:443": ("me", "secret"),
        "https://b.test:8443": ("someone", "p@ss"),
    }


def test_credentials_in_a_variable_are_found(tmp_path: Path) -> None:
    variables = {"UV_INDEX": "own=https://me:a=b@a.test/simple https://you:x@b.test/"}

    assert index_credentials(variables, tmp_path, tmp_path) == {
        "https://a.test:443": ("me", "a=b"),
        "https://b.test:443": ("you", "x"),
    }


def test_settings_without_a_proxy_stay_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text('index-url = "https://index.test/"\n', encoding="utf-8")

    assert safe_settings({"UV_NO_CONFIG": "0"}, tmp_path / "home", tmp_path) is None


def test_of_settings_with_a_proxy_all_but_the_proxy_is_left(tmp_path: Path) -> None:
    project, user = tmp_path / "project", tmp_path / "home" / ".config" / "uv"
    for folder in (project, user):
        folder.mkdir(parents=True)
    (project / "pyproject.toml").write_text(
        '[tool.uv]\nhttps-proxy = "http://proxy.test:3128"\nno-proxy = ["a.test", "b.test"]\n'
        'package = false\nindex-strategy = "first-index"\n'
        '[[tool.uv.index]]\nurl = "https://one.test/"\n[tool.uv.pip]\nno-annotate = true\n',
        encoding="utf-8",
    )
    (user / "uv.toml").write_text(
        'index-strategy = "unsafe-best-match"\n[[index]]\nurl = "https://two.test/"\n'
        "[pip]\nno-annotate = false\nno-header = true\n",
        encoding="utf-8",
    )

    text = safe_settings({}, tmp_path / "home", project)

    assert text is not None
    assert tomllib.loads(text) == {
        "index-strategy": "first-index",
        "index": [{"url": "https://one.test/"}, {"url": "https://two.test/"}],
        "pip": {"no-annotate": True, "no-header": True},
    }
    assert proxies({}, tmp_path / "home", project) == {
        "https_proxy": "http://proxy.test:3128",
        "no_proxy": "a.test,b.test",
    }
