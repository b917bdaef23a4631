"""uv's settings, compared with the index that the real uv asks."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.uv_settings import (
    flat_indexes,
    has_default_index,
    hides_later_indexes,
    index_logins,
    index_policies,
    insecure_hosts,
    link_mode,
    named_indexes,
    proxies,
    safe_settings,
    search_order,
    settings_files,
    wants_system_certificates,
)
from provisioner.core.profile import CacheControl
from tests.simulators.environment import clean_environment, uv_binary
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Any

INDEX = "https://index.test/simple/"
Files = dict[str, str]

NAMED: dict[str, Files] = {
    "uv.toml": {"area/project/uv.toml": 'index-url = "{url}"\n'},
    "an index that is the default": {
        "area/project/uv.toml": '[[index]]\nurl = "{url}"\ndefault = true\n'
    },
    "the project": {"area/project/pyproject.toml": '[tool.uv]\nindex-url = "{url}"\n'},
    "a folder above": {"area/uv.toml": 'index-url = "{url}"\n'},
    "the user": {"config/uv/uv.toml": 'index-url = "{url}"\n'},
    "the user beside the project": {
        "area/project/uv.toml": "native-tls = false\n",
        "config/uv/uv.toml": 'index-url = "{url}"\n',
    },
}
NOT_NAMED: dict[str, Files] = {
    "nothing": {},
    "an index that is none by default": {"area/project/uv.toml": '[[index]]\nurl = "{url}"\n'},
    "another tool's table": {"area/project/pyproject.toml": '[tool.other]\nindex-url = "{url}"\n'},
    "a folder above that a nearer file hides": {
        "area/project/uv.toml": "native-tls = false\n",
        "area/uv.toml": 'index-url = "{url}"\n',
    },
    "a project that its uv.toml hides": {
        "area/project/uv.toml": "native-tls = false\n",
        "area/project/pyproject.toml": '[tool.uv]\nindex-url = "{url}"\n',
    },
}

OF_PIP: Files = {"area/project/pyproject.toml": '[tool.uv.pip]\nindex-url = "{url}"\n'}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[IndexSimulator]:
    """An index that tells by its log whether uv asked it."""
    with IndexSimulator("pypi") as started:
        started.publish(make_wheel(tmp_path / "wheels", "base", "1.0"))
        yield started


def write(tmp_path: Path, files: Files, url: str) -> Path:
    """Write the settings; the folder of the project."""
    folder = tmp_path / "area" / "project"
    folder.mkdir(parents=True)
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{url}", url), encoding="utf-8")
    return folder


def takes_it_as_default(index: IndexSimulator, folder: Path, variables: dict[str, str]) -> bool:
    """Whether the real uv has the index as its default, so that pip's must not be."""
    # Whoever else would be the default is behind a proxy that is nobody.
    subprocess.run(
        [uv_binary(), "pip", "compile", "-q", "-p", sys.executable, "-"],
        input="base\n",
        cwd=folder,
        env={**variables, "UV_HTTP_TIMEOUT": "2", "UV_HTTP_RETRIES": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    return bool(index.requests)


def variables_of(tmp_path: Path, **more: str) -> dict[str, str]:
    """A user whose settings files count, in a world without any other index."""
    variables = clean_environment(tmp_path, UV_NO_CACHE="1", **more)
    del variables["UV_NO_CONFIG"]
    dead = "http://127.0.0.1:9"
    return {**variables, "HTTPS_PROXY": dead, "https_proxy": dead}


@pytest.mark.parametrize("case", NAMED)
def test_a_default_index_is_found_where_uv_finds_it(
    case: str, tmp_path: Path, index: IndexSimulator
) -> None:
    folder = write(tmp_path, NAMED[case], index.index_url)
    variables = variables_of(tmp_path)

    assert has_default_index(variables, tmp_path, folder)
    assert takes_it_as_default(index, folder, variables)


def test_what_uv_pip_alone_is_set_to_is_no_default_of_projects(
    tmp_path: Path, index: IndexSimulator
) -> None:
    folder = write(tmp_path, OF_PIP, index.index_url)
    variables = variables_of(tmp_path)

    assert has_default_index(variables, tmp_path, folder, of_pip=True)
    assert not has_default_index(variables, tmp_path, folder)
    assert takes_it_as_default(index, folder, variables)


@pytest.mark.parametrize("case", NOT_NAMED)
def test_what_is_no_default_index_for_uv_is_none_for_us(case: str, tmp_path: Path) -> None:
    folder = write(tmp_path, NOT_NAMED[case], INDEX)

    assert not has_default_index(variables_of(tmp_path), tmp_path, folder)


def test_settings_that_a_nearer_file_hides_are_not_asked_by_uv(
    tmp_path: Path, index: IndexSimulator
) -> None:
    case = NOT_NAMED["a folder above that a nearer file hides"]
    folder = write(tmp_path, case, index.index_url)

    assert not takes_it_as_default(index, folder, variables_of(tmp_path))


def test_a_user_who_switches_settings_files_off_has_none(
    tmp_path: Path, index: IndexSimulator
) -> None:
    folder = write(tmp_path, NAMED["uv.toml"], index.index_url)
    variables = variables_of(tmp_path, UV_NO_CONFIG="1") | {"UV_NO_CONFIG": "1"}

    assert not takes_it_as_default(index, folder, variables)
    assert not has_default_index(variables, tmp_path, folder)


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_a_variable_names_a_default_index(name: str, tmp_path: Path) -> None:
    assert has_default_index({name: INDEX}, tmp_path, tmp_path)
    assert not has_default_index({name: ""}, tmp_path, tmp_path)


def test_a_named_file_is_the_only_one(tmp_path: Path) -> None:
    folder = write(tmp_path, NAMED["uv.toml"], INDEX)
    own = tmp_path / "own.toml"
    own.write_text("", encoding="utf-8")
    variables = {"UV_CONFIG_FILE": str(own)}

    assert settings_files(variables, tmp_path, folder) == (own,)
    assert not has_default_index(variables, tmp_path, folder)


@pytest.mark.parametrize("text", ["[[[", "index = 5\n", "pip = 5\n", 'index = ["x"]\n'])
def test_settings_that_are_not_valid_are_left_to_uv(text: str, tmp_path: Path) -> None:
    folder = write(tmp_path, {"area/project/uv.toml": text}, INDEX)

    assert not has_default_index({}, tmp_path, folder)
    assert index_logins({}, tmp_path, folder) == ()


def found_logins(
    variables: Mapping[str, str], home: Path, folder: Path
) -> list[tuple[str, str, str]]:
    """Index, user and password of each login."""
    return [(it.index, it.user, it.password) for it in index_logins(variables, home, folder)]


def test_credentials_belong_to_their_index(tmp_path: Path) -> None:
    text = (
        '[[index]]\nname = "own"\nurl = "https://a.test/simple"\n'
        '[[index]]\nurl = "https://someone:p%40ss@b.test:8443/simple"\n'
        '[[index]]\nurl = "https://c.test/simple"\n'
    )
    folder = write(tmp_path, {"area/project/uv.toml": text}, INDEX)
    variables = {"UV_INDEX_OWN_USERNAME": "me", "UV_INDEX_OWN_PASSWORD": "secret"}

    assert found_logins(variables, tmp_path, folder) == [
        ("https://a.test/simple", "me", "secret"),
        ("https://b.test:8443/simple", "someone", "p@ss"),
    ]


def test_credentials_in_a_variable_are_found(tmp_path: Path) -> None:
    variables = {"UV_INDEX": "own=https://me:a=b@a.test/simple https://you:x@b.test/"}

    assert found_logins(variables, tmp_path, tmp_path) == [
        ("https://a.test/simple", "me", "a=b"),
        ("https://b.test/", "you", "x"),
    ]


def test_settings_without_a_proxy_stay_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text('index-url = "https://index.test/"\n', encoding="utf-8")

    assert safe_settings({"UV_NO_CONFIG": "0"}, tmp_path / "home", tmp_path, tmp_path) is None


def test_of_settings_with_a_proxy_all_but_the_proxy_is_left(tmp_path: Path) -> None:
    project, user = tmp_path / "project", tmp_path / "home" / ".config" / "uv"
    for folder in (project, user):
        folder.mkdir(parents=True)
    (project / "pyproject.toml").write_text(
        '[tool.uv]\nhttps-proxy = "http://proxy.test:3128"\nno-proxy = ["a.test", "b.test"]\n'
        'package = false\nindex-strategy = "first-index"\n'
        '[[tool.uv.index]]\nurl = "https://one.test/"\n[tool.uv.pip]\nno-annotate = true\n',
        encoding="utf-8",
    )
    (user / "uv.toml").write_text(
        'index-strategy = "unsafe-best-match"\n[[index]]\nurl = "https://two.test/"\n'
        "[pip]\nno-annotate = false\nno-header = true\n",
        encoding="utf-8",
    )

    text = safe_settings({}, tmp_path / "home", project, tmp_path)

    assert text is not None
    assert tomllib.loads(text) == {
        "index-strategy": "first-index",
        "index": [{"url": "https://one.test/"}, {"url": "https://two.test/"}],
        "pip": {"no-annotate": True, "no-header": True},
    }
    assert proxies({}, tmp_path / "home", project) == {
        "https_proxy": "http://proxy.test:3128",
        "no_proxy": "a.test,b.test",
    }


PROXY = 'https-proxy = "http://proxy.test:3128"\n'


def safe(tmp_path: Path, files: Files, **variables: str) -> dict[str, Any]:
    """What is left of settings."""
    folder = write(tmp_path, files, INDEX)
    text = safe_settings(variables, tmp_path / "home", folder, tmp_path / "new")
    assert text is not None
    return tomllib.loads(text)


@pytest.mark.parametrize("name", ["uv.toml", "pyproject.toml"])
def test_relative_paths_stay_relative_and_lead_to_the_same_place(name: str, tmp_path: Path) -> None:
    table, pip = ("[tool.uv]\n", "tool.uv.pip") if name == "pyproject.toml" else ("", "pip")
    index = "tool.uv.index" if name == "pyproject.toml" else "index"
    text = (
        f'{table}{PROXY}cache-dir = "cache"\nfind-links = ["wheels", "/srv/wheels", '
        f'"https://a.test/wheels", "file:///srv/more"]\n'
        f'index-url = "simple"\nextra-index-url = ["../more", "https://b.test/simple"]\n'
        f'[[{index}]]\nname = "own"\nurl = "flat"\nformat = "flat"\n'
        f'[[{index}]]\nurl = "https://c.test/simple"\n'
        f'[{pip}]\nfind-links = ["for-pip"]\n'
    )
    assert safe(tmp_path, {f"area/{name}": text}) == {
        "cache-dir": "../area/cache",
        "find-links": [
            "../area/wheels",
            "/srv/wheels",
            "https://a.test/wheels",
            "file:///srv/more",
        ],
        "index-url": "../area/simple",
        "extra-index-url": ["../more", "https://b.test/simple"],
        "index": [
            {"name": "own", "url": "../area/flat", "format": "flat"},
            {"url": "https://c.test/simple"},
        ],
        "pip": {"find-links": ["../area/for-pip"]},
    }


def test_of_two_files_each_ones_paths_are_its_own(tmp_path: Path) -> None:
    found = safe(
        tmp_path,
        {
            "area/project/uv.toml": f'{PROXY}find-links = ["wheels"]\n',
            "home/.config/uv/uv.toml": 'find-links = ["wheels"]\n',
        },
    )

    assert found["find-links"] == [
        "../area/project/wheels",
        "../home/.config/uv/wheels",
    ]


@pytest.mark.parametrize(
    "line",
    [
        'target = "elsewhere"',
        'prefix = "elsewhere"',
        'python = "3.9"',
        "no-deps = true",
        "system = true",
        "break-system-packages = true",
        'python-platform = "windows"',
        'python-version = "3.9"',
        'extra = ["more"]',
    ],
)
def test_what_would_send_packages_elsewhere_is_dropped(line: str, tmp_path: Path) -> None:
    text = f'index-strategy = "first-index"\n[pip]\n{line}\nno-header = true\n'

    assert safe(tmp_path, {"area/project/uv.toml": text}) == {
        "index-strategy": "first-index",
        "pip": {"no-header": True},
    }


def test_what_only_a_project_may_say_is_in_no_settings_file(tmp_path: Path) -> None:
    text = (
        f'[tool.uv]\n{PROXY}package = true\nmanaged = true\ndefault-groups = ["dev"]\n'
        'offline = false\n[tool.uv.sources]\nx = { path = "x" }\n'
        '[tool.uv.workspace]\nmembers = ["packages/*"]\n'
    )

    assert safe(tmp_path, {"area/project/pyproject.toml": text}) == {"offline": False}


def test_settings_of_the_system_count_and_the_users_are_stronger(tmp_path: Path) -> None:
    files = {
        "system/uv/uv.toml": f'{PROXY}index-strategy = "unsafe-best-match"\nno-build = true\n',
        "home/.config/uv/uv.toml": 'index-strategy = "first-index"\n',
    }
    folders = f"{tmp_path / 'nothing'}:{tmp_path / 'system'}"

    found = safe(tmp_path, files, XDG_CONFIG_DIRS=folders)

    assert found == {"index-strategy": "first-index", "no-build": True}
    assert proxies({"XDG_CONFIG_DIRS": folders}, tmp_path / "home", tmp_path)["https_proxy"]


def test_an_index_of_the_systems_settings_is_found_where_uv_finds_it(
    tmp_path: Path, index: IndexSimulator
) -> None:
    files = {"system/uv/uv.toml": 'index-url = "{url}"\n'}
    folder = write(tmp_path, files, index.index_url)
    variables = variables_of(tmp_path, XDG_CONFIG_DIRS=str(tmp_path / "system"))

    assert has_default_index(variables, tmp_path, folder)
    assert takes_it_as_default(index, folder, variables)


def test_the_real_uv_finds_with_safe_settings_what_it_finds_with_its_own(tmp_path: Path) -> None:
    text = f'{PROXY}find-links = ["wheels"]\nno-index = true\n[pip]\ntarget = "elsewhere"\n'
    folder = write(tmp_path, {"area/uv.toml": text}, INDEX)
    make_wheel(tmp_path / "area" / "wheels", "base", "1.0")
    variables = variables_of(tmp_path)
    made = safe_settings(variables, tmp_path, folder, tmp_path)
    assert made is not None
    (tmp_path / "safe.toml").write_text(made, encoding="utf-8")

    found = [
        subprocess.run(
            [uv_binary(), "pip", "compile", "-q", "--no-header", "-p", sys.executable, "-"],
            input="base\n",
            cwd=folder,
            env={**variables, **more},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for more in ({}, {"UV_CONFIG_FILE": str(tmp_path / "safe.toml")})
    ]

    assert found[0] == found[1]
    assert "base==1.0" in found[0]


def test_policies_are_those_of_the_settings_that_count_the_projects_first(
    tmp_path: Path,
) -> None:
    def index(control: str) -> str:
        return f'[[index]]\nurl = "{INDEX}"\ncache-control = {control}\n'

    files = {
        "area/project/uv.toml": index('{ api = "max-age=1" }'),
        "config/uv/uv.toml": index('{ api = "max-age=2", files = "max-age=3, immutable" }'),
    }
    folder = write(tmp_path, files, INDEX)
    variables = {"XDG_CONFIG_HOME": str(tmp_path / "config")}

    found = index_policies(variables, tmp_path, folder)

    assert [(item.url, item.cache_control) for item in found] == [
        (INDEX, CacheControl(api="max-age=1")),
        (INDEX, CacheControl(api="max-age=2", files="max-age=3, immutable")),
    ]
    assert [
        str(tmp_path / name) in item.origin for item, name in zip(found, files, strict=True)
    ] == [
        True,
        True,
    ]


@pytest.mark.parametrize(
    "control",
    ["{}", '"max-age=5"', "{ api = 5 }", '{ api = "" }', '{ files = "max-age=5\\r\\nx: y" }'],
)
def test_what_is_no_policy_is_left_to_uv(control: str, tmp_path: Path) -> None:
    text = f'[[index]]\nurl = "{INDEX}"\ncache-control = {control}\n'
    folder = write(tmp_path, {"area/project/uv.toml": text}, INDEX)

    assert index_policies({}, tmp_path, folder) == ()


def test_hosts_are_allowed_by_the_variable_and_by_every_file_that_counts(tmp_path: Path) -> None:
    files = {
        "area/project/pyproject.toml": '[tool.uv]\nallow-insecure-host = ["a.test", 1]\n',
        "config/uv/uv.toml": 'allow-insecure-host = ["b.test:8080"]\n',
    }
    folder = write(tmp_path, files, INDEX)
    variables = {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "UV_INSECURE_HOST": "c.test d.test",
    }

    found = insecure_hosts(variables, tmp_path, folder)

    assert found == ("c.test", "d.test", "a.test", "b.test:8080")
    assert insecure_hosts({"UV_NO_CONFIG": "1"}, tmp_path, folder) == ()


@pytest.mark.parametrize(
    ("text", "variables", "wanted"),
    [
        ("", {}, False),
        ("native-tls = true", {}, True),
        ("system-certs = true", {}, True),
        ("system-certs = false\nnative-tls = true", {}, False),
        ("native-tls = true", {"UV_SYSTEM_CERTS": "false"}, False),
        ("", {"UV_SYSTEM_CERTS": "1"}, True),
        ("", {"UV_NATIVE_TLS": "true"}, True),
    ],
)
def test_the_systems_certificates_are_wanted_as_uv_is_told(
    text: str,
    variables: dict[str, str],
    wanted: bool,  # noqa: FBT001 - pytest gives it by name
    tmp_path: Path,
) -> None:
    folder = write(tmp_path, {"area/project/uv.toml": f"{text}\n"}, INDEX)

    assert wants_system_certificates(variables, tmp_path, folder) is wanted


def test_of_two_variables_that_name_an_index_the_first_counts() -> None:
    variables = {
        "UV_INDEX": "own=https://a.test/ https://b.test/",
        "UV_DEFAULT_INDEX": "own=https://c.test/",
    }
    assert named_indexes(variables) == {"own": "https://a.test/"}


def test_the_link_mode_is_that_of_the_variable_before_the_settings(tmp_path: Path) -> None:
    assert link_mode({}, tmp_path, tmp_path) is None
    (tmp_path / "uv.toml").write_text('link-mode = "copy"\n', encoding="utf-8")
    assert link_mode({}, tmp_path, tmp_path) == "copy"
    assert link_mode({"UV_LINK_MODE": "hardlink"}, tmp_path, tmp_path) == "hardlink"


def test_indexes_are_searched_in_uvs_order_and_the_default_one_last(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text(
        'extra-index-url = ["https://extra.test/"]\n'
        '[[index]]\nurl = "https://default.test/"\ndefault = true\n'
        '[[index]]\nname = "own"\nurl = "https://own.test/"\nexplicit = true\n'
        '[[index]]\nurl = "https://flat.test/"\nformat = "flat"\n'
        '[[index]]\nname = "b"\nurl = "https://b.test/"\nformat = "flat"\nexplicit = true\n'
        '[[index]]\nurl = "https://first.test/"\n',
        encoding="utf-8",
    )
    assert flat_indexes({}, tmp_path, tmp_path) == ("https://flat.test/",)
    variables = {"UV_INDEX": "a=https://variable.test/"}
    assert search_order(variables, tmp_path, tmp_path) == (
        "https://variable.test/",
        "https://first.test/",
        "https://extra.test/",
        "https://default.test/",
    )
    stronger = {"UV_DEFAULT_INDEX": "https://stronger.test/"}
    assert search_order(stronger, tmp_path, tmp_path)[-1] == "https://stronger.test/"


def test_later_indexes_are_hidden_unless_uv_is_told_otherwise(tmp_path: Path) -> None:
    assert hides_later_indexes({}, tmp_path, tmp_path)
    (tmp_path / "uv.toml").write_text('index-strategy = "unsafe-best-match"\n', encoding="utf-8")
    assert not hides_later_indexes({}, tmp_path, tmp_path)
    assert hides_later_indexes({"UV_INDEX_STRATEGY": "first-index"}, tmp_path, tmp_path)
