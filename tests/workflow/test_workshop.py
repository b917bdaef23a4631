"""What uv and its git are given, judged by the real git, and what fetches for them."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from provisioner.workflow.workshop import connect, git_variables
from provisioner.workflow.world import World
from tests.simulators.environment import clean_environment
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

GATEWAY = "http://gpuenv:secret@127.0.0.1:9"
OWN = "http://proxy.test:3128"


def seen_by_git(tmp_path: Path, name: str, variables: dict[str, str]) -> str | None:
    """A setting as git sees it with some variables, behind the gateway."""
    (tmp_path / "gitconfig").write_text(
        f"[http]\n\tproxy = {OWN}\n[user]\n\tname = someone\n", encoding="utf-8"
    )
    behind = clean_environment(
        tmp_path,
        GIT_CONFIG_GLOBAL=str(tmp_path / "gitconfig"),
        GIT_CONFIG_NOSYSTEM="1",
        HTTPS_PROXY=GATEWAY,
        https_proxy=GATEWAY,
        **variables,
    )
    found = subprocess.run(
        ["git", "config", "--get", name],
        cwd=tmp_path,
        env=behind,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() if found.returncode == 0 else None


@pytest.mark.parametrize(
    ("variables", "configured", "proxy"),
    [
        ({}, None, ""),
        ({}, OWN, OWN),
        ({}, "", ""),
        ({"https_proxy": "http://a.test:1"}, None, "http://a.test:1"),
        ({"HTTPS_PROXY": "http://a.test:1"}, None, "http://a.test:1"),
        ({"ALL_PROXY": "http://a.test:1"}, None, "http://a.test:1"),
        ({"https_proxy": "", "all_proxy": "http://a.test:1"}, None, "http://a.test:1"),
        ({"https_proxy": "http://a.test:1"}, OWN, OWN),
        ({"https_proxy": "http://a.test:1"}, "", ""),
    ],
)
def test_git_goes_the_users_own_way_past_the_gateway(
    variables: dict[str, str], configured: str | None, proxy: str, tmp_path: Path
) -> None:
    made = git_variables(variables, configured, offline=False)

    assert seen_by_git(tmp_path, "http.proxy", made) == proxy
    assert "GIT_ALLOW_PROTOCOL" not in made


def test_settings_that_the_user_gave_by_variables_stay(tmp_path: Path) -> None:
    given = {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "user.name",
        "GIT_CONFIG_VALUE_0": "me",
        "GIT_CONFIG_KEY_1": "http.proxy",
        "GIT_CONFIG_VALUE_1": GATEWAY,
    }

    made = given | git_variables(given, OWN, offline=False)

    assert seen_by_git(tmp_path, "user.name", made) == "me"
    assert seen_by_git(tmp_path, "http.proxy", made) == OWN


@pytest.mark.parametrize("count", ["", "nonsense"])
def test_a_count_that_is_none_counts_as_nothing(count: str, tmp_path: Path) -> None:
    made = git_variables({"GIT_CONFIG_COUNT": count}, OWN, offline=False)

    assert seen_by_git(tmp_path, "http.proxy", made) == OWN


def test_offline_git_reads_repositories_of_this_machine_and_asks_nobody(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    made = clean_environment(tmp_path, **git_variables({}, None, offline=True))

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *words], cwd=tmp_path, env=made, capture_output=True, text=True, check=False
        )

    assert git("init", "-q", str(repository)).returncode == 0
    assert git("clone", "-q", f"file://{repository}", "copy").returncode == 0
    refused = git("ls-remote", "http://127.0.0.1:9/x.git")
    assert refused.returncode != 0
    assert "not allowed" in refused.stderr


@pytest.mark.parametrize("named", [True, False])
def test_the_password_of_an_index_that_serve_asks_is_there_for_its_files_too(
    tmp_path: Path,
    named: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    wheel = make_wheel(tmp_path / "w", "demo", "1.0")
    with IndexSimulator(credentials=("someone", "s3cret/x")) as index:
        index.publish(wheel)
        variables = clean_environment(tmp_path, NETRC=str(tmp_path / "none"))
        if not named:  # It stands behind the URL of the server itself.
            (tmp_path / "pip.conf").write_text(
                f"[global]\nindex-url = {index.authenticated_index_url}\n", encoding="utf-8"
            )
            variables |= {
                "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
                "PIP_INDEX_URL": "http://127.0.0.1:8199/simple/",
            }
        world = World(variables=variables, home=tmp_path, folder=tmp_path, now=time.time)
        urls = [index.authenticated_index_url] if named else []
        http = connect(world, tmp_path, connections=1, named=urls, tries=1)
        try:
            with http.get(index.file_url(wheel.name)) as answer:
                assert answer.status == 200
        finally:
            http.close()
