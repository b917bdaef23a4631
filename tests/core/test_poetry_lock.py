"""Where the packages of a `poetry.lock` come from."""

from __future__ import annotations

import tomllib

from provisioner.core.poetry_lock import sources

LOCK = """
[[package]]
name = "one"

[package.source]
type = "legacy"
url = "http://127.0.0.1:8199/simple"
reference = "gpuenv"

[[package]]
name = "two"

[package.source]
type = "legacy"
url = "http://127.0.0.1:8199/simple"
reference = "gpuenv"

[[package]]
name = "three"

[package.source]
type = "directory"
url = "../three"

[[package]]
name = "four"
"""


def test_each_source_is_told_once_and_none_means_pypi() -> None:
    found = sources(tomllib.loads(LOCK))
    assert found == ("http://127.0.0.1:8199/simple", "../three", "https://pypi.org/simple/")


def test_a_lock_without_packages_has_no_sources() -> None:
    assert sources({}) == ()
    assert sources({"package": "none"}) == ()
