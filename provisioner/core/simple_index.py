"""Pages of a package index, written: PEP 503 as HTML, PEP 691 as JSON."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.core.digest import Digest

HTML_PAGE: Final = "application/vnd.pypi.simple.v1+html"

PAGE_END: Final = "  </body>\n</html>\n"
"""What stands behind the last link of a page: links put before it are of the page too."""

_VERSION: Final = "1.1"


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedFile:
    """A file as a project's page lists it; None where nobody tells.

    `url` is absolute, or relative to the page. `size` is in bytes and `uploaded` ISO 8601
    with `Z` (PEP 700). `yanked` is the reason, empty where none is given (PEP 592).
    `metadata` is the SHA-256 of `<url>.metadata` (PEP 658, 714).
    """

    name: str
    url: str
    digest: Digest | None
    size: int | None = None
    uploaded: str | None = None
    requires_python: str | None = None
    yanked: str | None = None
    metadata: Digest | None = None


def json_page(project: str, files: Iterable[ListedFile], versions: Iterable[str]) -> str:
    """A project's page as JSON (PEP 691, 700, 714), of the content type `JSON_PAGE`."""
    listed = [_item(file) for file in files]
    # PEP 700 demands sizes from version 1.1 on.
    has_sizes = all("size" in item for item in listed)
    data: dict[str, Any] = {
        "meta": {"api-version": _VERSION if has_sizes else "1.0"},
        "name": project,
        "versions": list(versions),
        "files": listed,
    }
    return json.dumps(data)


def html_page(project: str, files: Iterable[ListedFile]) -> str:
    """A project's page as HTML (PEP 503, 592, 658, 714), of the content type `HTML_PAGE`."""
    return _page(f"Links for {project}", map(html_link, files))


def html_root(projects: Iterable[str]) -> str:
    """The page of a whole index as HTML: a link for each project, by its normalised name."""
    return _page("Simple index", map(html_project, projects))


def html_line(link: str) -> str:
    """A link as a line of a page."""
    return f"    {link}<br/>\n"


def html_project(name: str) -> str:
    """The link for a project on the page of a whole index."""
    return f'<a href="{quote(name)}/">{html.escape(name)}</a>'


def json_root(projects: Iterable[str]) -> str:
    """The page of a whole index as JSON."""
    listed = [{"name": name} for name in projects]
    return json.dumps({"meta": {"api-version": _VERSION}, "projects": listed})


def _item(file: ListedFile) -> dict[str, Any]:
    item: dict[str, Any] = {
        "filename": file.name,
        "url": file.url,
        "hashes": {"sha256": file.digest.hex} if file.digest else {},
        "yanked": False if file.yanked is None else file.yanked or True,
    }
    more = {
        "size": file.size,
        "upload-time": file.uploaded,
        "requires-python": file.requires_python,
    }
    item |= {name: value for name, value in more.items() if value is not None}
    if file.metadata:
        told = {"sha256": file.metadata.hex}
        item |= {"core-metadata": told, "data-dist-info-metadata": told}
    return item


def html_link(file: ListedFile) -> str:
    """The link for a file."""
    fragment = f"#sha256={file.digest}" if file.digest else ""
    attributes = {"href": f"{file.url}{fragment}"}
    if file.requires_python is not None:
        attributes["data-requires-python"] = file.requires_python
    if file.yanked is not None:
        attributes["data-yanked"] = file.yanked
    if file.metadata:
        attributes["data-core-metadata"] = f"sha256={file.metadata}"
        attributes["data-dist-info-metadata"] = f"sha256={file.metadata}"
    text = " ".join(f'{name}="{html.escape(value)}"' for name, value in attributes.items())
    return f"<a {text}>{html.escape(file.name)}</a>"


def _page(title: str, links: Iterable[str]) -> str:
    lines = map(html_line, links)
    return (
        "<!DOCTYPE html>\n<html>\n  <head>\n"
        f'    <meta name="pypi:repository-version" content="{_VERSION}">\n'
        f"    <title>{html.escape(title)}</title>\n  </head>\n  <body>\n"
        f"    <h1>{html.escape(title)}</h1>\n{''.join(lines)}{PAGE_END}"
    )
