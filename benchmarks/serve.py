"""`gpuenv serve` beside nginx: one large file, a cold `uv sync`, pages a second, memory.

`python -m benchmarks.serve [--megabytes 400] [--runs 5]`. Both have everything already, nginx
as plain files. Without an nginx there is nothing to compare with.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urljoin, urlsplit

from benchmarks.served import MEGABYTE, Served, make_wheel, project_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_T = TypeVar("_T")

_PARTS: Final = 4
_CONNECTIONS: Final = 4
_PAGE_SECONDS: Final = 5.0
_NGINX: Final = """
worker_processes 1;
daemon off;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    types {{ text/html html; application/octet-stream whl; }}
    server {{
        listen 127.0.0.1:{port};
        root {root}/www;
        location / {{ add_header Cache-Control "max-age=365000000, immutable, public"; }}
    }}
}}
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    if shutil.which("nginx") is None:
        sys.exit("there is no nginx to compare with: `apt-get install nginx`")
    with tempfile.TemporaryDirectory(prefix="serve-") as text:
        folder = Path(text)
        (folder / "wheels").mkdir()
        size = given.megabytes * MEGABYTE // _PARTS
        wheels = [make_wheel(folder / "wheels", f"part{n}", size) for n in range(_PARTS)]
        with Served(folder / "wheels") as upstream, contextlib.ExitStack() as stack:
            ours, process = stack.enter_context(_gpuenv(folder, f"{upstream}/0/"))
            theirs = stack.enter_context(_nginx(folder, upstream, wheels))
            _measure(folder, {"gpuenv": ours, "nginx": theirs}, wheels, given.runs, process)


def _measure(
    folder: Path, indexes: dict[str, str], wheels: list[Path], runs: int, process: int
) -> None:
    for wheel in wheels:  # The store is filled, and all is in the page cache.
        for index in indexes.values():
            _download(_file(index, wheel))
    before = _resident(process)
    rates = _alternate(indexes, runs, lambda index: _download(_file(index, wheels[0])))
    projects = {name: _project(folder, name, index, wheels) for name, index in indexes.items()}
    syncs = _alternate(projects, runs, _sync)
    pages = _alternate(indexes, min(runs, 3), lambda index: _pages(index, project_of(wheels[0])))
    print(
        f"| cold `uv sync` of {sum(w.stat().st_size for w in wheels) / MEGABYTE:.0f} MB"
        f" | gpuenv | nginx | ratio |\n|---|---|---|---|"
    )
    _row("s, median (range)", syncs, "{:.2f}")
    _row("one file, MB/s", rates, "{:.0f}")
    _row("pages a second", pages, "{:.0f}")
    print(f"| memory of the server, MB | {before} before, {_resident(process)} after | | |")


def _row(title: str, found: dict[str, list[float]], form: str) -> None:
    medians = {name: statistics.median(values) for name, values in found.items()}
    cells = [
        f"{form.format(medians[name])} ({form.format(min(values))}-{form.format(max(values))})"
        for name, values in found.items()
    ]
    print(f"| {title} | {' | '.join(cells)} | {medians['gpuenv'] / medians['nginx']:.2f} |")


def _alternate(
    servers: Mapping[str, _T], runs: int, measure: Callable[[_T], float]
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(runs):
        for name, server in servers.items():
            found[name].append(measure(server))
    return found


@contextlib.contextmanager
def _gpuenv(folder: Path, upstream: str) -> Iterator[tuple[str, int]]:
    home = folder / "home"
    (home / "uv").mkdir(parents=True)
    (folder / "store").mkdir()
    (home / "uv" / "uv.toml").write_text(
        f'[[index]]\nurl = "{upstream}"\ndefault = true\n'
        'cache-control = { api = "max-age=600" }\n'
    )
    variables = {
        **os.environ,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "GPUENV_STORE": str(folder / "store"),
    }
    words = [sys.executable, "-m", "provisioner", "serve", "--port", "0", "-q"]
    process = subprocess.Popen(words, env=variables, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        yield process.stdout.readline().split()[-1], process.pid
    finally:
        process.terminate()
        process.communicate()


@contextlib.contextmanager
def _nginx(folder: Path, upstream: str, wheels: list[Path]) -> Iterator[str]:
    root = folder / "nginx"
    for wheel in wheels:
        place = root / "www" / "simple" / project_of(wheel)
        place.mkdir(parents=True)
        (place / wheel.name).hardlink_to(wheel)
        page = subprocess.run(
            ["curl", "-s", f"{upstream}/0/{project_of(wheel)}/"], capture_output=True, check=True
        )
        (place / "index.html").write_bytes(page.stdout)
    for path in (folder, root):
        path.chmod(0o755)  # nginx's worker is another user.
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = root / "nginx.conf"
    config.write_text(_NGINX.format(root=root, port=port))
    process = subprocess.Popen(["nginx", "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/simple/"
    finally:
        process.terminate()
        process.wait()


def _file(index: str, wheel: Path) -> str:
    page = f"{index}{project_of(wheel)}/"
    text = subprocess.run(["curl", "-s", page], capture_output=True, text=True, check=True).stdout
    link = text.partition(' href="')[2].partition("#")[0]
    return urljoin(page, link)


def _download(url: str) -> float:
    """Megabytes a second."""
    done = subprocess.run(
        ["curl", "-sf", "-o", "/dev/null", "-w", "%{speed_download}", url],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout) / MEGABYTE


def _project(folder: Path, name: str, index: str, wheels: list[Path]) -> Path:
    project = folder / f"project-{name}"
    project.mkdir()
    dependencies = ", ".join(f'"{project_of(wheel)}"' for wheel in wheels)
    (project / "pyproject.toml").write_text(
        f'[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\n'
        f"dependencies = [{dependencies}]\n"
        f'[[tool.uv.index]]\nurl = "{index}"\ndefault = true\n'
    )
    _uv(project, "lock")
    return project


def _sync(project: Path) -> float:
    """Seconds, with an empty cache and without an environment."""
    for folder in (project / "cache", project / ".venv"):
        shutil.rmtree(folder, ignore_errors=True)
    _uv(project, "venv", "-q")
    began = time.monotonic()
    _uv(project, "sync", "--frozen")
    return time.monotonic() - began


def _uv(project: Path, *words: str) -> None:
    variables = {**os.environ, "UV_CACHE_DIR": str(project / "cache")}
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([str(uv), *words], cwd=project, env=variables, check=True, capture_output=True)


def _pages(index: str, project: str) -> float:
    """Pages a second over several connections."""
    parts = urlsplit(f"{index}{project}/")
    head = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: text/html\r\n\r\n"
    counts = [0] * _CONNECTIONS
    end = time.monotonic() + _PAGE_SECONDS

    def ask(number: int) -> None:
        address = (parts.hostname or "", parts.port or 80)
        with socket.create_connection(address) as connection:
            while time.monotonic() < end:
                connection.sendall(head.encode())
                _read_answer(connection)
                counts[number] += 1

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / _PAGE_SECONDS


def _read_answer(connection: socket.socket) -> None:
    found = b""
    while b"\r\n\r\n" not in found:
        found += _received(connection, 1 << 16)
    head, _, body = found.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    left = length - len(body)
    while left > 0:
        left -= len(_received(connection, left))


def _received(connection: socket.socket, count: int) -> bytes:
    found = connection.recv(count)
    if not found:
        message = "the server has closed the connection"
        raise ConnectionError(message)
    return found


def _resident(process: int) -> int:
    """Megabytes of memory that a process has."""
    text = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(text.partition("VmRSS:")[2].split()[0]) // 1000


if __name__ == "__main__":
    main()
