"""Written index pages: what is written is read back by what reads real ones."""

from __future__ import annotations

import json

from provisioner.core.digest import Digest
from provisioner.core.pages import JSON_PAGE, named_files
from provisioner.core.simple_index import (
    HTML_PAGE,
    ListedFile,
    html_page,
    html_root,
    json_page,
    json_root,
)

PAGE = "http://127.0.0.1:8/simple/lean-cu12/"
WHEEL = ListedFile(
    name="lean_cu12-1.0+a-py3-none-any.whl",
    url="../files/lean_cu12-1.0%2Ba-py3-none-any.whl",
    digest=Digest.parse("ab" * 32),
    size=10,
    uploaded="2024-01-01T00:00:00Z",
    requires_python=">=3.9",
    yanked='broken "badly"',
    metadata=Digest.parse("cd" * 32),
)
BARE = ListedFile(name="lean_cu12-1.0.tar.gz", url="lean_cu12-1.0.tar.gz", digest=None)


def test_a_json_page_is_read_back() -> None:
    page = json_page("lean-cu12", [WHEEL], ["1.0+a"]).encode()
    (file,) = named_files(page, {"content-type": JSON_PAGE}, PAGE)
    assert (file.name, file.digest, file.size) == (WHEEL.name, WHEEL.digest, 10)
    assert file.url == "http://127.0.0.1:8/simple/files/lean_cu12-1.0%2Ba-py3-none-any.whl"


def test_a_html_page_is_read_back() -> None:
    page = html_page("lean-cu12", [WHEEL]).encode()
    (file,) = named_files(page, {"content-type": HTML_PAGE}, PAGE)
    assert (file.name, file.digest) == (WHEEL.name, WHEEL.digest)
    assert b'data-yanked="broken &quot;badly&quot;"' in page
    assert b'data-requires-python="&gt;=3.9"' in page
    assert page.count(f"sha256={WHEEL.metadata}".encode()) == 2


def test_json_has_what_peps_592_700_and_714_name() -> None:
    data = json.loads(json_page("lean-cu12", [WHEEL], ["1.0+a"]))
    assert data["meta"] == {"api-version": "1.1"}
    assert data["versions"] == ["1.0+a"]
    (file,) = data["files"]
    assert file["yanked"] == 'broken "badly"'
    assert file["upload-time"] == "2024-01-01T00:00:00Z"
    assert file["core-metadata"] == file["data-dist-info-metadata"] == {"sha256": "cd" * 32}


def test_a_page_without_sizes_does_not_claim_pep_700() -> None:
    data = json.loads(json_page("lean-cu12", [BARE], ["1.0"]))
    assert data["meta"] == {"api-version": "1.0"}
    assert data["files"] == [
        {"filename": BARE.name, "url": BARE.url, "hashes": {}, "yanked": False}
    ]


def test_a_root_lists_projects() -> None:
    assert '<a href="lean-cu12/">lean-cu12</a>' in html_root(["lean-cu12"])
    assert json.loads(json_root(["lean-cu12"]))["projects"] == [{"name": "lean-cu12"}]
