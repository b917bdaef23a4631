"""A server of wheels on loopback, in a process of its own, as slow as it is asked to be.

Below `/RATE/` it is an index in the manner of NVIDIA's, whose pages tell hashes and no sizes;
each connection gets RATE megabytes a second, or as much as it takes where that is 0.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
import zipfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MEGABYTE: Final = 1_000_000

_BLOCK: Final = 1 << 18
_ASKED: Final = re.compile(rb"(GET|HEAD) /([0-9.]+)/([^/ ]+)/([^/ ]*) ")
_RANGE: Final = re.compile(rb"\r\nrange: *bytes=(\d*)-(\d*)", re.IGNORECASE)


class Served:
    """The server of a folder's wheels, while the context lasts; entering tells its origin."""

    def __init__(self, folder: Path) -> None:
        words = [sys.executable, "-m", "benchmarks.served", str(folder)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> str:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        return self._process.stdout.readline().strip()

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()


def make_wheel(folder: Path, name: str, size: int) -> Path:
    """A wheel whose one large member is not compressed, so that unpacking it is a copy."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    block = os.urandom(1 << 20)
    with zipfile.ZipFile(path, "w") as wheel:
        with wheel.open(f"{name}/data.bin", "w", force_zip64=True) as member:
            for number in range(size // len(block)):
                member.write(number.to_bytes(4, "big") + block[4:])
        info = f"{name}-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


def project_of(wheel: Path) -> str:
    """The project that a wheel is of."""
    return wheel.name.partition("-")[0].replace("_", "-").lower()


def main() -> None:
    """Serve a folder until killed."""
    wheels = {path.name: path for path in Path(sys.argv[1]).glob("*.whl")}
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection, wheels), daemon=True).start()


def _serve(connection: socket.socket, wheels: Mapping[str, Path]) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = b""
    while block := connection.recv(1 << 16):
        head += block
        if b"\r\n\r\n" not in head:
            continue
        try:
            _answer(connection, head, wheels)
        except OSError:
            return  # Who has enough goes away.
        head = b""


def _answer(connection: socket.socket, head: bytes, wheels: Mapping[str, Path]) -> None:
    asked = _ASKED.match(head)
    method, rate, project, name = (word.decode() for word in asked.groups()) if asked else [""] * 4
    body = method != "HEAD"
    if name in wheels:
        _send_file(connection, head, wheels[name], float(rate) * MEGABYTE, body=body)
        return
    links = [
        f'<a href="{path.name}#sha256={_digest(path)}">{path.name}</a>'
        for path in wheels.values()
        if project_of(path) == project and not name
    ]
    page = "\n".join(["<!DOCTYPE html><html><body>", *links, "</body></html>"]).encode()
    lines = [
        f"HTTP/1.1 {'200 OK' if links else '404 Not Found'}",
        "Content-Type: text/html",
        f"Content-Length: {len(page)}",
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + (page if body else b""))


@cache
def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _send_file(
    connection: socket.socket, head: bytes, path: Path, rate: float, *, body: bool
) -> None:
    size = path.stat().st_size
    asked = _RANGE.search(head)
    first, stop = 0, size
    if asked and asked[1]:
        first, stop = int(asked[1]), min(int(asked[2]) + 1, size) if asked[2] else size
    elif asked:
        first = max(0, size - int(asked[2]))
    lines = [
        "HTTP/1.1 206 Partial Content" if asked else "HTTP/1.1 200 OK",
        'ETag: "one"',
        "Accept-Ranges: bytes",
        "Content-Type: application/octet-stream",
        f"Content-Length: {stop - first}",
    ]
    if asked:
        lines.append(f"Content-Range: bytes {first}-{stop - 1}/{size}")
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    if not body:
        return
    with path.open("rb") as file:
        began, at = time.monotonic(), first
        while at < stop:
            at += os.sendfile(connection.fileno(), file.fileno(), at, min(_BLOCK, stop - at))
            if rate:
                time.sleep(max(0.0, began + (at - first) / rate - time.monotonic()))


if __name__ == "__main__":
    main()
