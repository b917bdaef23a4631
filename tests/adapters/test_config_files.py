"""Files that people wrote: only what has to change changes."""

from __future__ import annotations

import stat
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.adapters.config_files import (
    ConfigFile,
    parse_ini,
    parse_toml,
    read_config,
    refuse_unwritable,
    with_options,
    with_terms,
    write_config,
)
from provisioner.core.configure import WANTED, index_entries, missing_terms, pip_edits
from provisioner.errors import GpuenvError, PolicyError

if TYPE_CHECKING:
    from pathlib import Path

ON_FILES = settings(
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
TWO = """\
[project]
name = "app" # ours

[[tool.uv.index]]
name = "nvidia"
url = "https://one.test/" # the first

# The second one is PyTorch's.
[[tool.uv.index]]
name = "pytorch"
url = "https://two.test/"

[tool.other]
quiet = true
"""


def completed(file: ConfigFile, *tables: str) -> str | None:
    """The text in which every index has what it needs."""
    found: Any = parse_toml(file)
    for name in tables:
        found = found.get(name, {})
    terms = {item.position: more for item in index_entries(found) if (more := missing_terms(item))}
    return with_terms(file, tables, terms) if terms else file.text


def is_kept(before: str, after: str) -> bool:
    """Whether all lines of a text are still there, in their order, at most longer."""
    lines = iter(after.splitlines())
    return all(
        any(line == old or _pieces(old, line) for line in lines) for old in before.splitlines()
    )


def _pieces(old: str, line: str) -> bool:
    """Whether a line is another one with something put in."""
    letters = iter(line)
    return bool(old.strip()) and all(letter in letters for letter in old)


NAMES = st.sampled_from(["a", "pytorch-cu126", "x_y"])
COMMENTS = st.sampled_from(["", "\n", "# a comment\n", "\n# of the next\n", "  # indented\n"])
CONTROLS = st.sampled_from(
    [
        "",
        'cache-control = { api = "max-age=1" }\n',
        'cache-control = { files = "no-store" } # so said\n',
        'cache-control.api = "max-age=1"\n',
        'cache-control = { files = "max-age=365000000, immutable" }\n',
    ]
)


@st.composite
def entries(draw: st.DrawFn) -> str:
    """One `[[index]]`, in one of the ways in which it can be written."""
    text = "[[PREFIXindex]]\n" + draw(COMMENTS)
    text += f'name = "{draw(NAMES)}"\n' + draw(COMMENTS)
    text += 'url = "https://one.test/"' + draw(st.sampled_from(["\n", " # here\n"]))
    text += draw(CONTROLS)
    if "cache-control" not in text and draw(st.booleans()):
        text += '[PREFIXindex.cache-control] # apart\napi = "max-age=1"\n'
    return text + draw(COMMENTS)


@st.composite
def inline(draw: st.DrawFn) -> str:
    """All indexes in one list."""
    items = draw(st.lists(st.sampled_from(["", ', cache-control = { api = "x" }']), max_size=3))
    lines = [f'  {{ name = "a", url = "https://one.test/"{item} }}, # a\n' for item in items]
    return "index = [\n" + "".join(lines) + "]\n"


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, tuple[str, ...]]:
    """A `pyproject.toml` or a `uv.toml`, and the tables that lead to its settings."""
    tables = draw(st.sampled_from([(), ("tool", "uv")]))
    prefix = "".join(f"{name}." for name in tables)
    top = draw(COMMENTS) + (f"[{prefix[:-1]}]\n" if prefix else "") + draw(COMMENTS)
    text = top + 'native-tls = true\nlink-mode = "copy" # as here\n'
    if draw(st.booleans()):
        text += draw(inline())
    else:
        for entry in draw(st.lists(entries(), max_size=3)):
            text += entry.replace("PREFIX", prefix)
        if prefix:
            text += draw(st.sampled_from(["", "[tool.other]\nquiet = true\n", "[project]\n"]))
    text += draw(COMMENTS)
    if draw(st.booleans()):
        text = text.rstrip("\n")
    return text, tables


@given(document=documents(), end=st.sampled_from(["\n", "\r\n"]), marked=st.booleans())
@ON_FILES
def test_every_index_gets_what_it_needs_once_and_all_else_stays(
    tmp_path: Path, document: tuple[str, tuple[str, ...]], end: str, *, marked: bool
) -> None:
    text, tables = document
    path = tmp_path / "pyproject.toml"
    before = ("\ufeff" if marked else "") + text.replace("\n", end)
    path.write_bytes(before.encode())

    file = read_config(path)
    text_after = completed(file, *tables)
    assert text_after is not None
    write_config(file, text_after)

    after = path.read_bytes().decode()
    assert after.startswith("\ufeff") is marked
    assert "\n" not in after.replace(end, "")
    kept = text.replace("no-store", WANTED.files or "")
    assert is_kept(kept, after.removeprefix("\ufeff").replace(end, "\n")), after
    found: Any = tomllib.loads(after.removeprefix("\ufeff"))
    for name in tables:
        found = found[name]
    assert all(not missing_terms(item) for item in index_entries(found))
    # A second time there is nothing to do.
    again = read_config(path)
    assert completed(again, *tables) == again.text


OPTIONS = st.sampled_from(
    [
        "no-cache-dir = true\n",
        "no_cache_dir=0\n",
        "timeout = 60\n",
        "Index-URL: https://one.test/\n",
        "find-links =\n    a\n    b\n",
    ]
)


@given(
    st.lists(st.tuples(COMMENTS, st.lists(OPTIONS, unique=True, max_size=3)), max_size=2),
    st.sampled_from([None, "http://127.0.0.1:8199/simple/"]),
    st.sampled_from(["", "  ", "\t"]),
)
@ON_FILES
def test_pip_gets_what_it_needs_once_and_all_else_stays(
    tmp_path: Path, sections: list[tuple[str, list[str]]], url: str | None, indent: str
) -> None:
    text = "# pip\n"
    for name, (comment, options) in zip(("global", "install"), sections, strict=False):
        lines = "".join(options).splitlines(keepends=True)
        text += f"[{name}]\n{comment}{''.join(indent + line for line in lines)}\n"
    path = tmp_path / "pip.conf"
    path.write_text(text, encoding="utf-8")

    def edited(file: ConfigFile) -> str | None:
        edits = pip_edits(parse_ini(file), url)
        return with_options(file, ((item.section, item.option, item.value) for item in edits))

    file = read_config(path)
    text_after = edited(file)
    assert text_after is not None
    write_config(file, text_after)

    after = read_config(path)
    gone = ("no", "Index-URL") if url else "no"
    left = [line for line in text.splitlines() if not line.strip().startswith(gone)]
    assert is_kept("\n".join(left), after.text)
    assert "cache" not in after.text
    assert (url or "-") in f"{after.text}-"
    assert edited(after) == after.text


@pytest.mark.parametrize(
    "text",
    [
        '[tool.uv.pip]\n[tool.uv]\n[tool]\n[[tool.uv.index]]\nurl = "https://one.test/"\n',
        "[[tool.uv.index]]",
    ],
)
def test_nothing_is_written_where_more_than_is_meant_would_change(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    assert with_terms(read_config(path), ("tool", "uv"), {0: {"files": "x"}}) is None

    path.write_text("[global]\n\n  [install]\n  timeout = 1\n", encoding="utf-8")
    assert with_options(read_config(path), [("global", "index-url", "https://one.test/")]) is None


def test_a_new_key_stands_above_the_comment_of_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(TWO, encoding="utf-8")
    line = f'cache-control = {{api = "{WANTED.api}", files = "{WANTED.files}"}}\n'
    expected = TWO.replace("# the first\n", f"# the first\n{line}").replace(
        'url = "https://two.test/"\n', f'url = "https://two.test/"\n{line}'
    )
    assert completed(read_config(path), "tool", "uv") == expected


def test_mode_and_link_stay_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "uv.toml"
    target.write_text("a = 1\n", encoding="utf-8")
    target.chmod(0o640)
    link = tmp_path / "uv.toml"
    link.symlink_to("real/uv.toml")

    write_config(read_config(link), "a = 2\n")

    assert str(link.readlink()) == "real/uv.toml"
    assert target.read_text(encoding="utf-8") == "a = 2\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert [path.name for path in target.parent.iterdir()] == ["uv.toml"]


def test_a_file_that_was_not_there_is_made_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "config" / "pip" / "pip.conf"
    file = read_config(path)
    refuse_unwritable(file)
    text = with_options(file, [("global", "index-url", "https://one.test/")])
    assert text is not None
    write_config(file, text)
    assert path.read_text(encoding="utf-8") == "[global]\nindex-url = https://one.test/\n"


@pytest.mark.parametrize("later", ["a = 3\n", None])
def test_a_file_that_changed_meanwhile_is_left_as_it_is(tmp_path: Path, later: str | None) -> None:
    path = tmp_path / "uv.toml"
    path.write_text("a = 1\n", encoding="utf-8")
    file = read_config(path)
    path.unlink()
    if later:
        path.write_text(later, encoding="utf-8")

    with pytest.raises(GpuenvError) as caught:
        write_config(file, "a = 2\n")

    assert (caught.value.code, str(path) in caught.value.message) == ("changed-meanwhile", True)
    assert (path.read_text(encoding="utf-8") if later else path.exists()) == (later or False)
    assert len(list(tmp_path.iterdir())) == (1 if later else 0)


def test_a_read_only_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "uv.toml"
    path.touch()
    path.chmod(0o444)
    with pytest.raises(PolicyError) as caught:
        refuse_unwritable(read_config(path))
    assert caught.value.causes == ("it is read-only",)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"a = 1\nb =\n", "line 2"), (b"a = '\xff'\n", "invalid start byte")],
)
def test_a_malformed_toml_file_is_named_with_its_line(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "uv.toml"
    path.write_bytes(content)
    with pytest.raises(GpuenvError) as caught:
        parse_toml(read_config(path))
    assert str(path) in caught.value.message
    assert words in caught.value.causes[0]


@pytest.mark.parametrize("text", ["index-url = 1\n", "[global]\na = 1\na = 2\n"])
def test_a_malformed_ini_file_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pip.conf"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(GpuenvError) as caught:
        parse_ini(read_config(path))
    assert "line" in caught.value.causes[0]
