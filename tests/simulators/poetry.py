"""A stand-in for poetry: it brings `.venv` to what `poetry.lock` has, by pages of the sources.

As poetry 2 does: without a word a package comes from PyPI, whose JSON is elsewhere and not
spoken here; a file is asked for once and kept in the cache; what is not needed is removed; and
what goes wrong with a package is told on stdout, in a block of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
import tomllib
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

_VERSION = "2.5.1"


class _FailedError(Exception):
    """What cannot be installed."""


def write_poetry(folder: Path, version: str = _VERSION) -> Path:
    """Write the program into a folder; it logs its arguments beside it."""
    path = folder / "poetry"
    path.write_text(
        f"#!{sys.executable}\n"
        f"import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        f"from tests.simulators.poetry import main\n"
        f"main(sys.argv, {version!r})\n",
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path


def main(words: list[str], version: str) -> None:
    """Do what the command line says."""
    program, *rest = words
    if "--version" in rest:
        print(f"Poetry (version {version})")  # noqa: T201
        return
    with Path(program).with_name("poetry.log").open("a", encoding="utf-8") as log:
        print(*rest, file=log)
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["sync" if version.startswith("2") else "install"])
    for option in ("--extras", "--with", "--without"):
        parser.add_argument(option, action="append", default=[])
    for option in ("--no-root", "--no-interaction", "--no-ansi", "--sync"):
        parser.add_argument(option, action="store_true")
    _sync(set(parser.parse_args(rest).extras))


def _sync(extras: set[str]) -> None:
    lock = tomllib.loads(Path("poetry.lock").read_text(encoding="utf-8"))
    known = lock.get("extras", {})
    if unknown := extras - known.keys():
        sys.exit(f"Extra [{', '.join(unknown)}] is not specified.")
    asked = {name for extra in extras for name in known[extra]}
    (site,) = Path(".venv").glob("lib/python*/site-packages")
    failed = False
    for package in lock.get("package", []):
        record = site / f"{package['name']}.poetry"
        try:
            if package["optional"] and package["name"] not in asked:
                _remove(record)
            elif not record.exists():
                _add(package, record)
        except _FailedError as error:
            failed = True
            print(f"\n    | {error}\n    | \n    | Solutions:\n    | Try again.\n")  # noqa: T201
    sys.exit(failed)


def _add(package: dict[str, Any], record: Path) -> None:
    names = []
    with zipfile.ZipFile(io.BytesIO(_wheel(package))) as wheel:
        names = wheel.namelist()
        wheel.extractall(record.parent)
    record.write_text("\n".join(names), encoding="utf-8")


def _remove(record: Path) -> None:
    if record.exists():
        for name in record.read_text(encoding="utf-8").splitlines():
            (record.parent / name).unlink(missing_ok=True)
        record.unlink()


def _wheel(package: dict[str, Any]) -> bytes:
    name, version = package["name"], package["version"]
    (file,) = package["files"]
    kept: Path = Path(os.environ["POETRY_CACHE_DIR"]) / file["hash"] / file["file"]
    if not kept.exists():
        page = f"{package['source']['url']}/{name}/"
        try:
            listed = json.loads(_get(page))["files"]
            found = [item["url"] for item in listed if item["filename"] == file["file"]]
            if not found:
                message = f"Unable to find installation candidates for {name} ({version})"
                raise _FailedError(message)
            data = _get(urljoin(page, found[0]))
        except urllib.error.HTTPError as error:
            message = f"{error.code} Client Error for url: {error.url}"
            raise _FailedError(message) from error
        kept.parent.mkdir(parents=True)
        kept.write_bytes(data)
    data = kept.read_bytes()
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != file["hash"]:
        message = f"Downloaded distributions for {name} ({version}) did not match"
        raise _FailedError(message)
    return data


def _get(url: str) -> bytes:
    headers = {"Accept": "application/vnd.pypi.simple.v1+json"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        found: bytes = answer.read()
        return found
