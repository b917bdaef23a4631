"""`gpuenv serve` and `gpuenv env`, with real clients."""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import NOTHING, Given, Machine, distributions
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 60


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[IndexSimulator]:
    """An index in the manner of NVIDIA's, which is the only one there is."""
    with IndexSimulator() as started:
        started.publish(make_wheel(tmp_path / "w", "lean", "1.0", requires=["dep"]))
        started.publish(make_wheel(tmp_path / "w", "dep", "1.0"))
        yield started


@contextmanager
def serving(
    machine: Machine, folder: Path, *words: str, given: Given = NOTHING
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server on a free port; its URL, and its process, which ends with the context."""
    machine.store.mkdir(exist_ok=True)
    process = machine.start(folder, "serve", "--port", "0", *words, given=given)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"serving {machine.store} at http://"), process.communicate()[1]
        yield line.split()[-1], process
    finally:
        process.kill()
        process.communicate()


def of_shop(shop: IndexSimulator) -> Given:
    return {"PIP_INDEX_URL": shop.index_url}


def status(url: str, **headers: str) -> int:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_pip_and_uv_install_from_it_again_after_upstream_is_gone(
    machine: Machine, shop: IndexSimulator, tmp_path: Path
) -> None:
    pip, by_uv = tmp_path / "pip", tmp_path / "by-uv"
    subprocess.run([sys.executable, "-m", "venv", str(pip)], check=True)
    project = tmp_path / "app"
    project.mkdir()
    with serving(machine, tmp_path, given=of_shop(shop)) as (url, _):
        (project / "pyproject.toml").write_text(
            '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\n'
            'dependencies = ["lean"]\n'
            f'[[tool.uv.index]]\nurl = "{url}"\ndefault = true\n'
        )
        by_pip = [str(pip / "bin" / "pip"), "install", "-q", "--no-cache-dir", "--index-url", url]
        by_pip += ["--force-reinstall", "--disable-pip-version-check", "lean"]
        installs = ["pip", "install", "--python", str(by_uv), "--reinstall", "--no-cache"]

        def install() -> None:
            for done in (
                machine.run(tmp_path, *by_pip),
                machine.uv(tmp_path, "venv", "--clear", str(by_uv)),
                machine.uv(tmp_path, *installs, "--index-url", url, "lean"),
                machine.uv(project, "sync", "--no-cache", "--reinstall"),
            ):
                assert done.code == 0, done.err
            for environment in (pip, by_uv, project / ".venv"):
                assert {"lean 1.0", "dep 1.0"} <= distributions(environment)

        install()
        fetched = shop.file_bytes_served()
        assert fetched == sum(path.stat().st_size for path in (tmp_path / "w").iterdir())
        shop.stop()
        install()
        assert shop.file_bytes_served() == fetched


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_and_nobody_is_led_to_it_any_more(
    machine: Machine, tmp_path: Path, number: signal.Signals
) -> None:
    with serving(machine, tmp_path) as (url, process):
        found = machine.gpuenv(tmp_path, "env", "--uv", "--json").data["variables"]
        assert found == dict.fromkeys(
            ("PIP_INDEX_URL", "WHEEL_STUB_PIP_INDEX_URL", "UV_DEFAULT_INDEX"), url
        )
        process.send_signal(number)
        assert process.communicate(timeout=SECONDS) == ("", "")
        assert process.returncode == 0
    assert not (machine.store / "serve.json").exists()
    done = machine.gpuenv(tmp_path, "env")
    assert done.code == 1
    assert done.message.hint is not None
    assert "`gpuenv serve`" in done.message.hint


def test_a_server_that_was_killed_is_not_taken_for_one_that_runs(
    machine: Machine, tmp_path: Path
) -> None:
    machine.store.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    left = {"url": f"http://127.0.0.1:{port}/simple/"}
    (machine.store / "serve.json").write_text(json.dumps(left))
    assert machine.gpuenv(tmp_path, "env").message.error.startswith("nothing serves")


def test_a_store_that_was_named_and_is_not_there_is_not_made(
    machine: Machine, tmp_path: Path
) -> None:
    done = machine.gpuenv(tmp_path, "serve", "--store", "typo")
    assert done.code == 1
    assert done.message.error == f"there is no store `{tmp_path / 'typo'}`"
    assert done.message.hint is not None
    assert not (tmp_path / "typo").exists()


def test_a_port_that_is_taken_is_told(machine: Machine, tmp_path: Path) -> None:
    machine.store.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = machine.gpuenv(tmp_path, "serve", "--port", str(port))
    assert done.code == 1
    assert done.message.error == f"cannot listen on `127.0.0.1`, port {port}"
    assert done.message.causes == ("address already in use",)


def test_a_server_for_others_tells_its_address_and_needs_a_token(
    machine: Machine, tmp_path: Path
) -> None:
    leads_out = "\t00000000\t" in Path("/proc/net/route").read_text()
    machine.store.mkdir()
    process = machine.start(tmp_path, "serve", "--port", "0", "--host", "0.0.0.0")  # noqa: S104
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        found = re.findall(r"http://([0-9.]+):\d+/simple/", line := process.stdout.readline())
        assert [host.startswith("127.") for host in found] == [False] * leads_out + [True]
        token = process.stderr.readline().split()[-1]
        for url in re.findall(r"http://\S+", line):
            assert status(url) == 401
            assert status(url, Authorization=f"Bearer {token}") == 200
            assert status(url, Authorization=f"Bearer {token}", Host="evil.test") == 421
    finally:
        process.kill()
        process.communicate()


def test_a_token_of_the_users_is_nowhere_to_be_seen(
    machine: Machine, shop: IndexSimulator, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("open-sesame-today\n")
    words = ["--token-file", str(file), "-v"]
    with serving(machine, tmp_path, *words, given=of_shop(shop)) as (url, process):
        basic = base64.b64encode(b"me:open-sesame-today").decode()
        assert status(f"{url}lean/", Authorization=f"Basic {basic}") == 200
        assert status(f"{url}lean/", Authorization="Basic x") == 401
        made = machine.gpuenv(tmp_path, "env", "--token-file", str(file)).out
        assert f"PIP_INDEX_URL={url.replace('://', '://gpuenv:open-sesame-today@')}" in made
        process.send_signal(signal.SIGTERM)
        log = process.communicate()[1]
    assert "GET /simple/lean/ 200" in log
    assert "sesame" not in log
    assert basic not in log
    assert all("authorization" not in request.headers for request in shop.requests)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["serve", "--port", "70000"], {}),
        (["serve", "--profile", "cu99"], {}),
        (["serve"], {"GPUENV_SERVE_TOKEN": "two words"}),
        (["serve"], {"GPUENV_SERVE_TOKEN": "15-characters.."}),
        (["env", "--url", "ftp://x/"], {}),
        (["env", "--format", "csh"], {}),
    ],
)
def test_wrong_words_are_refused(
    machine: Machine, tmp_path: Path, words: list[str], given: dict[str, str]
) -> None:
    machine.store.mkdir()
    assert machine.gpuenv(tmp_path, *words, given=given).code == 2


def test_a_server_elsewhere_is_named_by_its_url(machine: Machine, tmp_path: Path) -> None:
    url = "http://build.test:8199/simple/"
    done = machine.gpuenv(tmp_path, "env", "--url", url, "--format", "dotenv")
    assert done.out.splitlines() == [
        f"PIP_INDEX_URL={url}",
        f"WHEEL_STUB_PIP_INDEX_URL={url}",
        "PIP_TRUSTED_HOST=build.test",
    ]
