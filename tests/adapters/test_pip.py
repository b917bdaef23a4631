"""The index that pip is set to, compared with what the real pip takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.adapters.pip import config_files, index_url, trusted_hosts
from tests.simulators.environment import clean_environment

ROOT = Path(__file__).parents[2]
USER = "http://127.0.0.1:9/user"
OTHER = "http://127.0.0.1:9/other"
NAMED = "http://127.0.0.1:9/named"

Files = dict[str, str]


def settings(section: str, url: str, key: str = "index-url") -> str:
    """A configuration file of pip."""
    return f"[{section}]\n{key} = {url}\n"


def machine(tmp_path: Path, files: Files, named: str | None) -> dict[str, str]:
    """Write files of pip's configuration; the variables of a user who has them."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    variables = {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_CONFIG_DIRS": f"{tmp_path / 'first'}:{tmp_path / 'second'}",
    }
    return variables | ({"PIP_CONFIG_FILE": str(tmp_path / named)} if named else {})


def pips_own(tmp_path: Path, variables: dict[str, str]) -> str | None:
    """The index that the real pip looks in."""
    asked = ["install", "--dry-run", "--retries", "0", "--no-deps", "no-such-project"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *asked],
        env=clean_environment(tmp_path, **variables),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    if "No module named pip" in done.stderr:
        pytest.skip("pip is not installed beside the tests")
    said = [line for line in done.stdout.splitlines() if line.startswith("Looking in indexes: ")]
    return said[0].removeprefix("Looking in indexes: ").split(",")[0] if said else None


CASES: dict[str, tuple[Files, str | None, str | None]] = {
    "the user's file": ({"config/pip/pip.conf": settings("global", USER)}, None, USER),
    "the older place of the user's file": ({".pip/pip.conf": settings("global", USER)}, None, USER),
    "the newer place before the older": (
        {
            "config/pip/pip.conf": settings("global", USER),
            ".pip/pip.conf": settings("global", OTHER),
        },
        None,
        USER,
    ),
    "the user's file before the machine's": (
        {
            "config/pip/pip.conf": settings("global", USER),
            "first/pip/pip.conf": settings("global", OTHER),
        },
        None,
        USER,
    ),
    "the command's section before the general one": (
        {"config/pip/pip.conf": settings("global", OTHER) + settings("install", USER)},
        None,
        USER,
    ),
    "the named file before the user's": (
        {"config/pip/pip.conf": settings("global", OTHER), "named": settings("global", NAMED)},
        "named",
        NAMED,
    ),
    "the command's section of a farther file before the general one of a nearer": (
        {
            "config/pip/pip.conf": settings("global", OTHER),
            "first/pip/pip.conf": settings("install", USER),
        },
        None,
        USER,
    ),
    "an underscore in the key": (
        {"config/pip/pip.conf": settings("global", USER, "index_url")},
        None,
        USER,
    ),
    "the last of the machine's folders": (
        {
            "first/pip/pip.conf": settings("install", OTHER),
            "second/pip/pip.conf": settings("install", USER),
        },
        None,
        USER,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_index_is_the_one_that_pip_takes_from(case: str, tmp_path: Path) -> None:
    files, named, expected = CASES[case]
    variables = machine(tmp_path, files, named)

    assert index_url(variables, tmp_path) == expected
    assert pips_own(tmp_path, variables) == expected


def test_a_named_file_that_says_nothing_hides_the_users(tmp_path: Path) -> None:
    files = {"config/pip/pip.conf": settings("install", USER), "named": "[global]\n"}
    variables = machine(tmp_path, files, "named")

    assert pips_own(tmp_path, variables) != USER
    assert index_url(variables, tmp_path) != USER


def test_the_variable_comes_before_every_file(tmp_path: Path) -> None:
    variables = machine(tmp_path, {"config/pip/pip.conf": settings("install", USER)}, None)
    variables["PIP_INDEX_URL"] = OTHER

    assert index_url(variables, tmp_path) == OTHER
    assert pips_own(tmp_path, variables) == OTHER


def test_the_null_device_means_no_file(tmp_path: Path) -> None:
    variables = machine(tmp_path, {"config/pip/pip.conf": settings("global", USER)}, None)
    variables["PIP_CONFIG_FILE"] = "/dev/null"

    assert config_files(variables, tmp_path) == ()
    assert index_url(variables, tmp_path) is None
    assert pips_own(tmp_path, variables) is None


def test_a_file_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    files = {"config/pip/pip.conf": "no section\n", ".pip/pip.conf": settings("install", USER)}

    assert index_url(machine(tmp_path, files, None), tmp_path) == USER


def test_a_percent_sign_is_no_interpolation(tmp_path: Path) -> None:
    url = "http://user:p%40ss@127.0.0.1:9/simple"
    files = {"config/pip/pip.conf": settings("global", url)}

    assert index_url(machine(tmp_path, files, None), tmp_path) == url


def test_without_variables_the_users_files_lie_in_the_home(tmp_path: Path) -> None:
    first, second, *_ = config_files({}, tmp_path)

    assert first == tmp_path / ".config" / "pip" / "pip.conf"
    assert second == tmp_path / ".pip" / "pip.conf"


def test_trusted_hosts_are_those_of_the_variable_and_of_every_file(tmp_path: Path) -> None:
    files = {
        "config/pip/pip.conf": "[global]\ntrusted-host = a.test\n    b.test:8080\n",
        "named.conf": "[install]\ntrusted_host = c.test\n",
        "second/pip/pip.conf": "[global]\ntrusted-host = d.test\n",
    }
    variables = machine(tmp_path, files, None) | {"PIP_TRUSTED_HOST": "e.test f.test"}
    assert trusted_hosts(variables, tmp_path) == (
        "e.test",
        "f.test",
        "a.test",
        "b.test:8080",
        "d.test",
    )
    named = variables | {"PIP_CONFIG_FILE": str(tmp_path / "named.conf")}
    assert trusted_hosts(named, tmp_path) == ("e.test", "f.test", "c.test", "d.test")
