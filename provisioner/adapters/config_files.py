"""Files that people write: changed where they have to be, and otherwise left as they are."""

from __future__ import annotations

import configparser
import os
import stat
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters._files import no_space, sync_folder
from provisioner.errors import GpuenvError, PolicyError, said

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_BOM: Final = "\ufeff"
_WRITE_BITS: Final = 0o222


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigFile:
    """A file as it was read; `text` has line feeds alone and no BOM.

    `target` is the file that `path` leads to. `content` is None where there is none.
    """

    path: Path
    target: Path
    content: bytes | None
    text: str

    def encoded(self, text: str) -> bytes:
        """Another text in the way in which this file is written: its BOM, its line endings."""
        before = (self.content or b"").decode("utf-8")
        if "\r\n" in before and before.count("\r\n") == before.count("\n"):
            text = text.replace("\n", "\r\n")
        return ((_BOM if before.startswith(_BOM) else "") + text).encode()


def read_config(path: Path) -> ConfigFile:
    """Read a file; one that is not there is an empty one.

    Raises:
        GpuenvError: it cannot be read, or is not written in UTF-8.
    """
    target = path.resolve()
    try:
        content = target.read_bytes()
        text = content.decode("utf-8")
    except FileNotFoundError:
        return ConfigFile(path=path, target=target, content=None, text="")
    except OSError as error:
        raise _unreadable(path, said(error)) from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, str(error)) from error
    text = text.removeprefix(_BOM)
    if text.count("\r\n") == text.count("\n"):
        text = text.replace("\r\n", "\n")
    return ConfigFile(path=path, target=target, content=content, text=text)


def refuse_unwritable(file: ConfigFile) -> None:
    """Refuse a file that its owner, or the file system, does not let be written to.

    Raises:
        PolicyError: with the file.
    """
    target = file.target
    fault = None
    with suppress(FileNotFoundError):
        if not stat.S_IMODE(target.stat().st_mode) & _WRITE_BITS:
            fault = "it is read-only"
        elif not os.access(target, os.W_OK):
            fault = "this user may not write to it"
    folder = next(parent for parent in target.parents if parent.is_dir())
    if fault is None and not os.access(folder, os.W_OK | os.X_OK):
        fault = f"this user may not write to `{folder}`"
    if fault:
        message = f"`{file.path}` cannot be changed"
        raise PolicyError(message, causes=(fault,), code="read-only")


def write_config(file: ConfigFile, text: str) -> None:
    """Put another text into a file, so that a reader or a crash sees the old or the new one.

    A link stays a link, and the mode and owner of the file stay.

    Raises:
        GpuenvError: the file has changed since it was read, or cannot be written.
    """
    target = file.target
    staged = target.with_name(f".{target.name}.{os.urandom(6).hex()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(file.encoded(text))
            stream.flush()
            os.fsync(stream.fileno())
        if _content(target) != file.content:
            message = f"`{file.path}` was changed meanwhile"
            raise GpuenvError(message, hint="run it again", code="changed-meanwhile")
        if file.content is not None:  # A new one is for its user alone: it may hold a password.
            _take_after(target, staged)
        staged.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        full = no_space(error, target)
        if full is not error:
            raise full from error
        message = f"cannot write `{file.path}`"
        raise GpuenvError(message, causes=(said(error),)) from error
    finally:
        staged.unlink(missing_ok=True)


def parse_toml(file: ConfigFile) -> dict[str, Any]:
    """What a TOML file says.

    Raises:
        GpuenvError: it is malformed; the cause names the line.
    """
    try:
        return tomllib.loads(file.text)
    except tomllib.TOMLDecodeError as error:
        raise _malformed(file, str(error)) from error


def parse_ini(file: ConfigFile) -> dict[str, dict[str, str]]:
    """The options of an INI file by section, as pip reads them.

    Raises:
        GpuenvError: it is malformed; the cause names the line.
    """
    try:
        return _ini(file.text, str(file.path))
    except configparser.Error as error:
        raise _malformed(file, " ".join(str(error).split())) from error


def _ini(text: str, source: str = "") -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(default_section="")
    parser.read_string(text, source)
    return {section: dict(parser.items(section)) for section in parser.sections()}


def with_terms(
    file: ConfigFile, tables: Iterable[str], terms: Mapping[int, Mapping[str, str]]
) -> str | None:
    """The text of a TOML file whose indexes say more of `cache-control`; the rest stays.

    None where it is written in a way that cannot be added to.

    Args:
        file: The file.
        tables: The tables that lead to the one that has `index`.
        terms: What an index gets, by its position in the list.

    Raises:
        GpuenvError: it is malformed; the cause names the line.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    expected = parse_toml(file)
    try:
        document = tomlkit.parse(file.text)  # Which knows less of TOML than the parser does.
        table: Any = document
        plain: Any = expected
        for name in tables:
            table, plain = table[name], plain[name]
        for position, more in terms.items():
            _add_terms(table["index"][position], more)
            before = plain["index"][position].get("cache-control")
            after = {**(before if isinstance(before, dict) else {}), **more}
            plain["index"][position]["cache-control"] = after
        text = tomlkit.dumps(document)
        return text if tomllib.loads(text) == expected else None
    except (TOMLKitError, tomllib.TOMLDecodeError, LookupError, TypeError):
        return None


def with_options(file: ConfigFile, options: Iterable[tuple[str, str, str | None]]) -> str | None:
    """The text of an INI file with other options (section, name, value), None removes one.

    None where it is written in a way that cannot be added to.

    Raises:
        GpuenvError: it is malformed; the cause names the line.
    """
    from configupdater import ConfigUpdater

    expected = parse_ini(file)
    updater = ConfigUpdater()
    try:
        updater.read_string(file.text, source=str(file.path))
        for section, name, value in options:
            if value is None:
                updater.remove_option(section, name)
                del expected[section][name]
                continue
            if not updater.has_section(section):
                updater.add_section(section)
            found = updater[section]
            like = found.get(name) or next(reversed(found.option_blocks()), None)
            indent = _indent(str(like or ""))
            updater.set(section, name, value)
            # It would be written without its indent, and the next one would continue it.
            found[name].key = indent + found[name].raw_key
            expected.setdefault(section, {})[name] = value
        text = str(updater)
        return text if _ini(text) == expected else None
    except configparser.Error:
        return None


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _add_terms(item: Any, more: Mapping[str, str]) -> None:  # noqa: ANN401 - tomlkit's
    """Add `cache-control`, or what it lacks, to an index of a document."""
    import tomlkit

    control = item.get("cache-control")
    if not isinstance(control, dict):
        control = tomlkit.inline_table()
        control.update(more)
        _put(item, "cache-control", control)
        return
    for key, value in more.items():
        _put(control, key, value)


def _put(table: Any, key: str, value: object) -> None:  # noqa: ANN401 - tomlkit's
    """Set a key; a new one stands below the last one, above what follows that.

    tomlkit counts the comment above the next table to this one.
    """
    import tomlkit
    from tomlkit.items import Table

    if key in table or not isinstance(table, Table):
        table[key] = value
        return
    body = table.value.body
    last = max((number for number, (name, _) in enumerate(body) if name is not None), default=-1)
    rest = body[last + 1 :]
    del body[last + 1 :]
    table.append(key, tomlkit.item(value))
    body.extend(rest)


def _take_after(target: Path, staged: Path) -> None:
    """Give a file the mode and the owner of the one that it takes the place of."""
    found = target.stat()
    if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(PermissionError):
            os.chown(staged, found.st_uid, found.st_gid)
    staged.chmod(stat.S_IMODE(found.st_mode))


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _unreadable(path: Path, words: str) -> GpuenvError:
    message = f"`{path}` cannot be read"
    return GpuenvError(message, causes=(words,), code="settings-invalid")


def _malformed(file: ConfigFile, words: str) -> GpuenvError:
    message = f"`{file.path}` is malformed"
    return GpuenvError(message, causes=(words,), code="settings-invalid")
