"""Make the user's uv and pip right by their own settings: what is to change, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from provisioner.adapters import pip, uv_settings
from provisioner.adapters.config_files import (
    parse_ini,
    parse_toml,
    read_config,
    refuse_unwritable,
    with_options,
    with_terms,
    write_config,
)
from provisioner.adapters.profiles import load_profiles, profile_files, profile_folders
from provisioner.adapters.projects import find_home, read_place
from provisioner.adapters.records import FirstSeenNames
from provisioner.adapters.serving import find_server
from provisioner.core.configure import (
    WANTED,
    Change,
    Entry,
    comes_again,
    diff,
    hidden,
    index_entries,
    is_right_by_itself,
    missing_terms,
    pip_edits,
    plain_indexes,
    rule_for,
    rules_of,
    snippet,
    stays_beside,
    uv_change,
)
from provisioner.core.pages import named_files
from provisioner.core.served import as_index
from provisioner.core.urls import (
    is_below,
    is_open,
    is_remote,
    is_same_index,
    plain,
    require_web,
)
from provisioner.errors import GpuenvError
from provisioner.workflow.place import folder_of, store_of
from provisioner.workflow.workshop import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from provisioner.adapters.config_files import ConfigFile
    from provisioner.core.profile import Index
    from provisioner.workflow.world import Options, World

_CONNECT_SECONDS: Final = 5.0
_OK: Final = 200

PIP_CANNOT: Final = (
    "pip keeps no file that its index forbids to keep, and has no setting against that; "
    "`pip install -r .gpuenv/pylock.<profile>.toml` (pip 26.1) and what `gpuenv env --pip` "
    "prints take files from the store"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileResult:
    """A file of settings: what is to change in it, the diff, and whether it was written."""

    path: Path
    changes: tuple[Change, ...]
    diff: str
    written: bool = False

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {
            "path": str(self.path),
            "changes": [change.to_json() for change in self.changes],
            "diff": self.diff,
            "written": self.written,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigureResult:
    """The files that are to change, and what no file can do."""

    files: tuple[FileResult, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields of `configure --json`."""
        return {"files": [item.to_json() for item in self.files], "notes": list(self.notes)}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Edit:
    """A file with its new text."""

    file: ConfigFile
    text: str
    changes: tuple[Change, ...]


def configure(
    world: World, options: Options, *, write: bool = False, serve_url: str | None = None
) -> ConfigureResult:
    """Find what the settings of uv and pip lack, and with `write` write it.

    `serve_url` is an index of `gpuenv serve` that pip is to use.

    Raises:
        UsageError: the project does not exist, or `serve_url` is no URL.
        GpuenvError: a file is malformed, or has changed while it was looked at.
        PolicyError: a file that is to be written is read-only.
    """
    if serve_url is not None:
        require_web(serve_url, "`gpuenv serve` says its own")
        serve_url = as_index(serve_url)
    folder, is_project = folder_of(world, options)
    home = find_home(folder, is_project=is_project)
    looker = _Looker(world, options, folder, home, is_project=is_project)
    edits = [*looker.uv(), *looker.pip(serve_url)]
    if write:
        for edit in edits:
            refuse_unwritable(edit.file)
        for edit in edits:
            write_config(edit.file, edit.text)
    return ConfigureResult(
        files=tuple(
            FileResult(
                path=edit.file.path,
                changes=edit.changes,
                diff=diff(edit.file.text, edit.text, _shown(edit.file.path, home)),
                written=write,
            )
            for edit in edits
        ),
        notes=tuple(dict.fromkeys(looker.notes)),
    )


class _Looker:
    """Looks through the settings files; what they cannot do is collected in `notes`."""

    def __init__(
        self, world: World, options: Options, folder: Path, home: Path, *, is_project: bool
    ) -> None:
        self.notes: list[str] = []
        self._world = world
        self._options = options
        self._folder = folder
        # Settings are those of the workspace's root; a member may name indexes of its own.
        self._folders = tuple(dict.fromkeys((home, folder)))
        project = home if is_project else None
        profiles = profile_files(profile_folders(project, world.variables, world.home))
        known = load_profiles(profiles)
        manifest = read_place(folder, is_project=is_project).manifest
        self._rules = tuple(rules_of(known, manifest.defined if manifest else None))
        self._indexes = tuple(index for item in known for index in item.indexes)
        self._store = store_of(world, options)
        self._headers: dict[str, str | None] = {}
        self._silence: dict[str, str] = {}

    def uv(self) -> Iterator[_Edit]:
        """What uv's settings lack. The strongest file that names an index decides on it."""
        for variable, _, url in uv_settings.variable_indexes(self._world.variables):
            self._cannot(url, f"`{variable}` names `{hidden(url)}`")
        named: set[str] = set()
        for path in self._uv_files():
            file = read_config(path)
            settings: Any = parse_toml(file)
            tables = ("tool", "uv") if path.name == "pyproject.toml" else ()
            for table in tables:
                settings = settings.get(table, {})
            entries = [item for item in index_entries(settings) if plain(item.url) not in named]
            named |= {plain(item.url) for item in entries}
            for key, url in plain_indexes(settings):
                if plain(url) not in named:
                    self._cannot(url, f"`{key}` of `{path}` names `{hidden(url)}`")
            wanted = {item.position: self._wanted(item) for item in entries}
            lacking = {item.position: found for item in entries if (found := wanted[item.position])}
            if not lacking:
                continue
            changes = tuple(
                uv_change(item, *lacking[item.position])
                for item in entries
                if item.position in lacking
            )
            terms = {position: more for position, (more, _) in lacking.items()}
            yield from self._edit(file, with_terms(file, tables, terms), changes)

    def pip(self, serve_url: str | None) -> Iterator[_Edit]:
        """What pip's settings have too much, and its index, if it is to have another one."""
        variables, home = self._world.variables, self._world.home
        if variables.get("PIP_NO_CACHE_DIR"):
            self.notes.append("`PIP_NO_CACHE_DIR` is set, so that pip keeps nothing; unset it")
        if serve_url and variables.get("PIP_INDEX_URL"):
            self.notes.append("`PIP_INDEX_URL` is set, and stronger than any file; unset it")
        if any(self._reason(url) for url in self._all_urls()):
            self.notes.append(PIP_CANNOT)
        self._tell_of_server(serve_url)
        files = pip.config_files(variables, home)
        own = [path for path in files if not self._is_anothers(path)]
        chosen = next((path for path in own if path.exists()), own[0] if own else None)
        if serve_url and chosen is None:
            self.notes.append("pip reads no configuration, since `PIP_CONFIG_FILE` says so")
        for path in files:
            url = serve_url if path == chosen else None
            if not (path.exists() or url):
                continue
            file = read_config(path)
            sections = parse_ini(file)
            if serve_url:
                self.notes += [f"{words} (`{path}`)" for words in stays_beside(sections)]
            edits = tuple(pip_edits(sections, url))
            if not edits:
                continue
            changes = tuple(edit.change for edit in edits)
            text = with_options(file, ((item.section, item.option, item.value) for item in edits))
            yield from self._edit(file, text, changes)

    def _edit(
        self, file: ConfigFile, text: str | None, changes: tuple[Change, ...]
    ) -> Iterator[_Edit]:
        """What a file gets, or notes of what nobody but its owner can give it."""
        is_ours = not self._is_anothers(file.path)
        if is_ours and text is not None:
            yield _Edit(file=file, text=text, changes=changes)
            return
        self.notes += [f"{change.what} in `{file.path}`: {change.why}" for change in changes]
        if is_ours:
            self.notes.append(
                f"`{file.path}` is written in a way that gpuenv cannot add to; change it by hand"
            )

    def _tell_of_server(self, serve_url: str | None) -> None:
        """Note how pip gets to a server that runs, or what keeps it from the named one."""
        variables, home = self._world.variables, self._world.home
        if serve_url is None:
            server = find_server(self._store.root)
            running = server.url if server else None
            if running and running != pip.index_url(variables, home):
                self.notes.append(
                    f"`gpuenv serve` runs; `gpuenv configure --serve-url {running}` lets pip use it"
                )
        elif is_open(serve_url, pip.trusted_hosts(variables, home)):
            self.notes.append(
                f"pip asks `{urlsplit(serve_url).hostname}` without encryption only where "
                "`trusted-host` names it"
            )

    def _uv_files(self) -> Iterator[Path]:
        """The settings files of uv that count, the strongest first, each once.

        Raises:
            GpuenvError: one that would count is malformed.
        """
        variables, home = self._world.variables, self._world.home
        for folder in self._folders:
            for path in uv_settings.settings_files(variables, home, folder):
                if path.is_file():
                    parse_toml(read_config(path))
        yield from dict.fromkeys(
            path
            for folder in self._folders
            for path, _ in uv_settings.files_that_count(variables, home, folder)
        )

    def _is_anothers(self, path: Path) -> bool:
        """Whether a file is the administrator's, for everybody on this machine."""
        variables = self._world.variables
        system = (variables.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
        return any(path.is_relative_to(folder) for folder in ("/etc", *filter(None, system)))

    def _wanted(self, entry: Entry) -> tuple[dict[str, str], str] | None:
        """The terms that an index needs, and why; None where it is right."""
        if not missing_terms(entry):
            return None
        found = self._reason(entry.url)
        if found is None:
            return None
        rule, why = found
        return missing_terms(entry, rule.cache_control if rule else WANTED), why

    def _reason(self, url: str) -> tuple[Index | None, str] | None:
        """Why files of an index would be downloaded again, if so, and the rule that says so."""
        if is_right_by_itself(url):
            return None
        if rule := rule_for(url, self._rules):
            if comes_again(rule.cache_control.files or "", has_validator=True):
                return None  # Whoever wrote the profile wants it so.
            return rule, f"files of `{hidden(rule.url)}` are to be kept, by {rule.origin}"
        if url not in self._headers:
            self._headers[url] = self._seen(url)
        why = self._headers[url]
        return (None, why) if why else None

    def _seen(self, url: str) -> str | None:
        """In words, how an index forbids to keep its files, by one of them or by its pages."""
        pages = list(self._store.pages_of(lambda at: is_below(at, url)))
        files = (
            file.url for page in pages for file in named_files(page.body, page.headers, page.url)
        )
        seen = (
            item.url
            for item in FirstSeenNames(self._store.root, self._store.lower).seen()
            if is_same_index(item.index, url) or is_below(item.url, url)
        )
        asked = ""
        for asked in filter(None, (next(files, None), next(seen, None), None if pages else url)):
            headers = self._asked(asked)
            if headers is not None:
                return _forbids(headers, f"`{hidden(asked)}`")
        for page in pages:
            if why := _forbids(page.headers, f"`{hidden(page.url)}`"):
                return why
        if not pages:
            why = self._silence[asked]
            self.notes.append(f"whether files of `{hidden(url)}` may be kept is not known: {why}")
        return None

    def _asked(self, url: str) -> dict[str, str] | None:
        """The headers of an answer; None where it cannot be had, which `_silence` says why."""
        if self._options.offline:
            self._silence[url] = "nothing is asked with `--offline`"
            return None
        http = connect(
            self._world,
            self._folder,
            connections=1,
            indexes=self._indexes,
            tries=1,
            connect_seconds=_CONNECT_SECONDS,
        )
        try:
            with http.get(url, method="HEAD") as answer:
                if answer.status == _OK:
                    return dict(answer.headers)
                self._silence[url] = f"it answers {answer.status}"
        except GpuenvError as error:
            self._silence[url] = ": ".join((error.message, *error.causes))
        finally:
            http.close()
        return None

    def _all_urls(self) -> Iterable[str]:
        variables, home = self._world.variables, self._world.home
        return (
            *(
                url
                for folder in self._folders
                for url in uv_settings.index_urls(variables, home, folder)
                if is_remote(url)
            ),
            *filter(None, (pip.index_url(variables, home),)),
        )

    def _cannot(self, url: str, words: str) -> None:
        """Note an index that stands where there is no room for `cache-control`."""
        if is_remote(url) and self._reason(url):
            self.notes.append(
                f"{words}, where `cache-control` cannot be said; in uv's settings that is "
                f"{snippet(url)}"
            )


def _forbids(headers: dict[str, str], what: str) -> str | None:
    said = headers.get("cache-control", "")
    has_validator = "etag" in headers or "last-modified" in headers
    if not comes_again(said, has_validator=has_validator):
        return None
    return f"{what} comes with `cache-control: {said}`"


def _shown(path: Path, home: Path) -> str:
    """A path as diffs have it: below the project, or else below `/`."""
    return str(path.relative_to(home) if path.is_relative_to(home) else path).lstrip("/")
