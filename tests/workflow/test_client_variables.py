"""Which URL variables name, and how they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.errors import UsageError
from provisioner.workflow.client_variables import serve_variables
from provisioner.workflow.world import Options
from tests.workflow.stores import FilledStore

if TYPE_CHECKING:
    from pathlib import Path


def index_at(tmp_path: Path, url: str, token: str | None = None) -> str:
    world = FilledStore(tmp_path).world
    return serve_variables(world, Options(), url=url, token=token, uv=False)["PIP_INDEX_URL"]


@pytest.mark.parametrize("url", ["http://[::1/", "http://h:99999/", "http://h:x/", "http:///x/"])
def test_what_is_no_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="is not an http or https URL"):
        index_at(tmp_path, url)


@pytest.mark.parametrize("url", ["http://[::1]:8199/simple/", "http://a:b%20c@h/x%22/?k=v&l=%24"])
def test_a_url_stays_as_it_is(tmp_path: Path, url: str) -> None:
    assert index_at(tmp_path, url) == url


def test_what_a_shell_or_a_file_of_variables_would_read_is_encoded(tmp_path: Path) -> None:
    found = index_at(tmp_path, "http://h/a\"b$c\\d'e`f g/", "t$k")
    assert found == "http://gpuenv:t%24k@h/a%22b%24c%5Cd%27e%60f%20g/"


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("http://foo:9/simple", "http://foo:9/simple/"),
        ("http://foo:9", "http://foo:9/simple/"),
        ("http://foo:9/", "http://foo:9/simple/"),
        ("https://foo/gpu/simple", "https://foo/gpu/simple/"),
    ],
)
def test_a_url_of_a_server_is_completed(tmp_path: Path, url: str, meant: str) -> None:
    assert index_at(tmp_path, url) == meant
