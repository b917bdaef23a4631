"""`simple/` of the store: an index of links, for clients that read it as files.

`simple/<project>/<file name>` is a link to a blob, and `index.html` beside it lists it with its
hash (PEP 503); `simple/links.html` lists all files (`--find-links`). Everything in it can be made
again from the records, so that nothing is flushed.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from provisioner.adapters._files import names_in, no_space, unless_read_only, write_whole
from provisioner.adapters._notes import alone
from provisioner.core.digest import Digest, is_digest
from provisioner.core.file_names import project_of
from provisioner.core.simple_index import (
    PAGE_END,
    ListedFile,
    html_line,
    html_link,
    html_page,
    html_project,
    html_root,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

FOLDER: Final = "simple"
LINKS: Final = "links.html"
_PAGE: Final = "index.html"
_LINK: Final = re.compile(r'<a href="([^/"]+)/[^"#]+#sha256=([0-9a-f]{64})">([^<]+)</a>')

_HASH: Final = re.compile(r"#sha256=([0-9a-f]{64})\"")


class StaticIndex:
    """The links of one store; whoever changes them has the lock on its notes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.folder = root / FOLDER

    @property
    def links(self) -> Path:
        """The page that lists all files."""
        return (self.folder / LINKS).absolute()

    def link(self, digest: Digest, name: str) -> Path | None:
        """The link to a blob under its own name; None where there is none that leads to it."""
        project = project_of(name)
        if project is None:
            return None
        for path in (self.folder / project / name, self.folder / project / digest.hex / name):
            if _leads_to(path) == digest and path.exists():
                return path
        return None

    def add(self, digest: Digest, name: str, blob: Path) -> None:
        """List a blob under a name that it came with; one that is no file name is let pass.

        Where other bytes have the name already, it gets a folder of its own and is not listed.
        """
        project = project_of(name)
        if project is None or self._has(project, digest, name, blob):
            return
        with unless_read_only(), alone(self._root):
            folder = self.folder / project
            path = folder / name
            if _leads_to(path) not in {None, digest} and path.exists():
                path = folder / digest.hex / name
            _point(path, self._target(blob, path))
            self._list_new(project)

    def refresh(self, names: Iterable[str]) -> None:
        """Leave out files of these names whose blobs are gone."""
        projects = {project for name in names if (project := project_of(name))}
        if any((self.folder / project).is_dir() for project in projects):
            with unless_read_only(), alone(self._root):
                self._write_pages(projects)

    def mend(self) -> None:
        """Leave out every file whose blob is gone, and write anew the pages that are not right."""
        if self.folder.is_dir():
            with unless_read_only(), alone(self._root):
                self._write_pages(self._projects())

    def _has(self, project: str, digest: Digest, name: str, blob: Path) -> bool:
        """Whether a blob is linked and listed as it has to be; the page is written last."""
        path = self.folder / project / name
        first = _leads_to(path)
        if first == digest:
            page = self.folder / project / _PAGE
            is_listed = digest.hex in _read(page) and (self.folder / LINKS).exists()
            return is_listed and _text(path) == self._target(blob, path)
        path = self.folder / project / digest.hex / name
        return bool(first) and _text(path) == self._target(blob, path)

    def _target(self, blob: Path, link: Path) -> str:
        """What a link says: relative within the store, so that it may be moved as a whole."""
        if blob.is_relative_to(self._root):
            return os.path.relpath(blob, link.parent)
        return str(blob)

    def _projects(self) -> list[str]:
        try:
            with os.scandir(self.folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return []

    def _list_new(self, project: str) -> None:
        """Write the page of a project, to which one file may have come.

        To the pages of all, links are added in place: of many files that come one by one each
        would else cost as much as all that are there.
        """
        before = _read(self.folder / project / _PAGE)
        page = self._page(project)
        files = self._files(project)
        known = _HASH.findall(before)
        new = [file for file in files if file.digest and file.digest.hex not in known]
        is_added = len(known) + len(new) == len(files) and _insert(
            self.folder / LINKS, [html_link(file) for file in new]
        )
        if is_added and not before:
            is_added = _insert(self.folder / _PAGE, [html_project(project)])
        if is_added and page is not None:
            _write(self.folder / project / _PAGE, page)
        else:
            self._write_pages([project])

    def _write_pages(self, projects: Iterable[str]) -> None:
        pages = {project: self._page(project) for project in projects}
        remaining = self._projects()
        # Of the others what the page says stands, so that a new file costs no look at them all.
        known = self._known(pages)
        files = [
            file for project in remaining for file in known.get(project) or self._files(project)
        ]
        _write(self.folder / LINKS, html_page("all projects", files))
        _write(self.folder / _PAGE, html_root(remaining))
        for project, page in pages.items():
            if page is not None:
                _write(self.folder / project / _PAGE, page)

    def _known(self, changed: Container[str]) -> dict[str, list[ListedFile]]:
        """What the page of all files lists of projects that have not changed."""
        found: dict[str, list[ListedFile]] = {}
        for project, digest, name in _LINK.findall(_read(self.folder / LINKS)):
            if project not in changed:
                url = f"{project}/{quote(name)}"
                file = ListedFile(name=name, url=url, digest=Digest(digest))
                found.setdefault(project, []).append(file)
        return found

    def _files(self, project: str) -> list[ListedFile]:
        """What the page of all files has to list of a project."""
        return [
            ListedFile(name=file.name, url=f"{project}/{file.url}", digest=file.digest)
            for file in _listed(self.folder / project)
        ]

    def _page(self, project: str) -> str | None:
        """The page of a project after what leads nowhere is gone; None where that was all."""
        folder = self.folder / project
        if not folder.is_dir():
            return None
        for path in sorted(folder.iterdir()):
            if is_digest(path.name) and path.is_dir():
                self._mend_other(path)
            # What is staged is so under the lock, so that a process that has ended left it.
            elif path.name.startswith(".") or (path.is_symlink() and not path.exists()):
                path.unlink(missing_ok=True)
        if not any(path.name != _PAGE for path in folder.iterdir()):
            (folder / _PAGE).unlink(missing_ok=True)
            folder.rmdir()
            return None
        return html_page(project, _listed(folder))

    def _mend_other(self, folder: Path) -> None:
        """Keep what bytes that are not listed have; they are, where the others are gone."""
        for path in folder.iterdir():
            first = folder.parent / path.name
            if path.name.startswith(".") or not path.exists():
                path.unlink(missing_ok=True)
            elif not first.exists():
                _point(first, self._target(_absolute(path), first))
        with suppress(OSError):
            folder.rmdir()


def _listed(folder: Path) -> list[ListedFile]:
    """The files that a project's page lists, by name."""
    names = sorted(names_in(str(folder)))
    found = ((name, _leads_to(folder / name)) for name in names)
    return [
        ListedFile(name=name, url=quote(name), digest=digest) for name, digest in found if digest
    ]


def _leads_to(link: Path) -> Digest | None:
    """The blob that a link stands for, be it there or not; None where there is no such link."""
    name = _text(link).rpartition("/")[2]
    return Digest(name) if is_digest(name) else None


def _text(link: Path) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115 - of thousands, and no object for each
    except OSError:
        return ""


def _absolute(link: Path) -> Path:
    return Path(os.path.normpath(link.parent / _text(link)))


def _point(link: Path, target: str) -> None:
    """Let a link lead to a target; a reader sees the old one or the new one."""
    staged = link.with_name(f".{os.urandom(6).hex()}")
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        staged.symlink_to(target)
        staged.replace(link)
    except OSError as error:
        raise no_space(error, link) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _write(path: Path, text: str) -> None:
    if _read(path) != text:
        write_whole(path, text, flushed=False)


def _insert(page: Path, links: Iterable[str]) -> bool:
    """Put links at the end of a page; False where it has to be written as a whole.

    That is one write. What it leaves where it is broken off is no whole page, which the next
    one sees.
    """
    end = PAGE_END.encode()
    more = "".join(map(html_line, links)).encode()
    try:
        with page.open("r+b", buffering=0) as file:
            start = file.seek(-len(end), os.SEEK_END)
            if file.read() != end:
                return False
            text = more + end
            return os.pwrite(file.fileno(), text, start) == len(text)
    except OSError:  # Another user's, for example, which only a rename can change.
        return False
