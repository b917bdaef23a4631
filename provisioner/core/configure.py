"""What has to stand in the settings of uv and pip so that they keep what they fetch.

uv obeys what an index says of its files, but for `cache-control` in its settings, which is
stronger (uv's documentation, "Package indexes"); NVIDIA's says `no-store`. pip obeys and has
no such setting (its vendored CacheControl).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from provisioner.core.index_policy import SHIPPED
from provisioner.core.profile import CONTROL, CacheControl, Index
from provisioner.core.routes import PYPI
from provisioner.core.urls import is_below, is_remote, is_same_index

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from provisioner.core.profile import Profile
    from provisioner.core.project import Defined

WANTED: Final = CacheControl(api="max-age=600", files="max-age=365000000, immutable")
"""What an index gets that says nothing better: the terms of gpuenv's own profiles."""

_RIGHT_BY_THEMSELVES: Final = frozenset({"pypi", "pypi-files"})
_NO_STORE: Final = re.compile(r"(?:^|[\s,])no-store(?:$|[\s,])", re.IGNORECASE)
_STALE_AT_ONCE: Final = re.compile(r"(?:^|[\s,])(?:no-cache|max-age=0)(?:$|[\s,])", re.IGNORECASE)
_SECRET: Final = re.compile(r"(?<=://)[^/\s\"']+@")
_PIP_CACHE: Final = "no-cache-dir"
_PIP_INDEX: Final = "index-url"
_PIP_MORE: Final = "extra-index-url"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An index as uv's settings have it; `position` is its place in their list."""

    position: int
    name: str
    url: str
    control: CacheControl

    def __str__(self) -> str:
        """How it is called in messages."""
        return f"`{self.name}`" if self.name else f"`{hidden(self.url)}`"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One thing that is to be otherwise, and why, in words."""

    what: str
    why: str

    def to_json(self) -> dict[str, str]:
        """As `--json` has it."""
        return {"what": self.what, "why": self.why}


@dataclass(frozen=True, kw_only=True, slots=True)
class PipEdit:
    """An option of pip's that gets a value, or goes where that is None."""

    section: str
    option: str
    value: str | None
    change: Change


def index_entries(settings: Mapping[str, Any]) -> Iterator[Entry]:
    """The indexes of uv's settings that are asked over a network."""
    items = settings.get("index")
    for position, item in enumerate(items if isinstance(items, list) else []):
        url = item.get("url") if isinstance(item, dict) else None
        if isinstance(url, str) and is_remote(url):
            yield Entry(
                position=position,
                name=str(item.get("name", "")),
                url=url,
                control=_control(item.get("cache-control")),
            )


def plain_indexes(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Indexes in the older form, which has room for a URL alone, each with its key."""
    url, more = settings.get("index-url"), settings.get("extra-index-url")
    named = [("index-url", url)]
    named += [("extra-index-url", item) for item in (more if isinstance(more, list) else [])]
    yield from ((key, item) for key, item in named if isinstance(item, str) and is_remote(item))


def rules_of(profiles: Iterable[Profile], defined: Defined | None) -> Iterator[Index]:
    """The indexes of profiles, first of those that a project has extras or groups for.

    What others only repeat of gpuenv's defaults is left to these, so that no reason names a
    profile that the project has nothing to do with.
    """
    names = defined.extras | defined.groups if defined else frozenset()
    profiles = sorted(profiles, key=lambda profile: names.isdisjoint(profile.extras))
    for profile in profiles:
        for index in profile.indexes:
            default = rule_for(index.url, ())
            is_default = default is not None and default.cache_control == index.cache_control
            if not (is_default and names.isdisjoint(profile.extras)):
                yield index


def rule_for(url: str, rules: Iterable[Index]) -> Index | None:
    """The first rule that is about an index and says something of its files.

    None of those of PyPI, whose headers are right.
    """
    for rule in (*rules, *SHIPPED):
        about = is_same_index(url, rule.url) or is_below(url, rule.url)
        if about and rule.cache_control.files and rule.name not in _RIGHT_BY_THEMSELVES:
            return rule
    return None


def is_right_by_itself(url: str) -> bool:
    """Whether an index is known to say itself that its files may be kept."""
    known = (index for index in SHIPPED if index.name in _RIGHT_BY_THEMSELVES)
    return any(is_same_index(url, index.url) or is_below(url, index.url) for index in known)


def comes_again(cache_control: str, *, has_validator: bool) -> bool:
    """Whether a client that obeys a header fetches the same file twice (RFC 9111).

    What is only to be revalidated comes again if there is nothing to revalidate it by.
    """
    if _NO_STORE.search(cache_control):
        return True
    return not has_validator and _STALE_AT_ONCE.search(cache_control) is not None


def missing_terms(entry: Entry, wanted: CacheControl = WANTED) -> dict[str, str]:
    """The terms of `cache-control` that an entry needs, by key; none where it is right.

    A term that the user wrote stays, unless files would come again by it. Without a word on
    files uv obeys the index.
    """
    files = entry.control.files
    if files is not None and not comes_again(files, has_validator=True):
        return {}
    terms = {"files": wanted.files or ""}
    if entry.control == CacheControl():
        terms = {"api": wanted.api or WANTED.api or "", **terms}
    return terms


def uv_change(entry: Entry, terms: Mapping[str, str], why: str) -> Change:
    """What an entry gets, in words."""
    said = ", ".join(f'{key} = "{value}"' for key, value in terms.items())
    before = entry.control.files
    instead = f' instead of `files = "{before}"`' if before and "files" in terms else ""
    return Change(what=f"`cache-control` of index {entry}: `{said}`{instead}", why=why)


def snippet(url: str) -> str:
    """The entry that takes the place of an index in the older form, on one line."""
    return (
        f'`index = [{{ url = "{hidden(url)}", cache-control = '
        f'{{ api = "{WANTED.api}", files = "{WANTED.files}" }} }}]`'
    )


def pip_edits(
    sections: Mapping[str, Mapping[str, str]], serve_url: str | None
) -> Iterator[PipEdit]:
    """What a configuration file of pip's needs.

    pip takes `_` for `-` in names. Whatever `no-cache-dir` is set to, pip keeps nothing: what
    means "no" does too, for backward compatibility (pip's `cmdoptions.py`).

    Args:
        sections: The options as they are written, by section.
        serve_url: The index that pip is to use, if it is to use another one.
    """
    for section, options in sections.items():
        for option in options:
            if option.replace("_", "-") == _PIP_CACHE:
                yield PipEdit(
                    section=section,
                    option=option,
                    value=None,
                    change=Change(
                        what=f"without `{option}` in `[{section}]`",
                        why="with it pip keeps nothing at all, whatever it is set to",
                    ),
                )
    if serve_url is None:
        return
    named = [
        (section, option, value)
        for section, options in sections.items()
        for option, value in options.items()
        if option.replace("_", "-") == _PIP_INDEX
    ]
    for section, option, value in named or [("global", _PIP_INDEX, "")]:
        if value != serve_url:
            yield PipEdit(
                section=section,
                option=option,
                value=serve_url,
                change=Change(
                    what=f"`{option}` in `[{section}]`: `{hidden(serve_url)}`",
                    why=f"it is the index that `--serve-url` names{_instead(value)}",
                ),
            )


def _instead(url: str) -> str:
    """What becomes of an index that the server takes the place of."""
    before = hidden(url or PYPI)
    return f"; for pip it takes the place of `{before}`: start it with `--index {before}`"


def stays_beside(sections: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """What pip downloads from beside its index, in words."""
    for section, options in sections.items():
        for option, value in options.items():
            if option.replace("_", "-") == _PIP_MORE and value.strip():
                urls = " ".join(value.split())
                yield f"`{option}` in `[{section}]` stays: pip downloads from `{hidden(urls)}` too"


def hidden(text: str) -> str:
    """A text whose URLs show no user names and passwords."""
    return _SECRET.sub("***@", text)


def diff(before: str, after: str, path: str) -> str:
    """The unified diff of a file, fit to be shown; empty where nothing changes."""
    lines = difflib.unified_diff(
        hidden(before).splitlines(keepends=True),
        hidden(after).splitlines(keepends=True),
        f"a/{path}",
        f"b/{path}",
    )
    ended = (
        f"{line}\n\\ No newline at end of file\n" if line[-1:] != "\n" else line for line in lines
    )
    return "".join(ended)


def _control(data: object) -> CacheControl:
    """What an entry says; a term that is no `Cache-Control` is as good as none."""
    terms = data if isinstance(data, dict) else {}

    def term(key: str) -> str | None:
        value = terms.get(key)
        return value if isinstance(value, str) and CONTROL.fullmatch(value) else None

    return CacheControl(api=term("api"), files=term("files"))
