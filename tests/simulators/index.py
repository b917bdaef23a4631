"""A package index on a real socket, in the manner of NVIDIA's or of PyPI.

What pypi.nvidia.com answers
============================

Known, from public reports of what it sent:

* Projects lie at the root: ``/<normalised-name>/`` is the page and
  ``/<normalised-name>/<filename>`` the file (pip's own output in many logs).
* A page is HTML, its links are relative to it: ``<a href="<filename>#sha256=…">``
  (the pytorch/test-infra mirror script rewrites precisely these).
* A file came with ``content-length``, ``last-modified``, ``accept-ranges:
  bytes``, a strong ``etag`` of 32 hex digits, ``server: AmazonS3``, ``expires``
  equal to the date, ``cache-control: max-age=0, no-cache, no-store`` and
  ``pragma: no-cache``; a .tar.gz had ``content-type: application/x-gzip``
  (astral-sh/uv issue 16959, December 2025; also issue 14121).
* No PEP 658 metadata: pip fetches whole wheels there to learn their
  requirements, where from PyPI it fetches ``.whl.metadata``.
* A project that it lacks is answered with 404 (pytorch/test-infra pull
  request 8473); the origin's error bodies are S3's XML.

Assumed: that the ETag is the content's MD5 (S3 has other values for parts
uploaded apart), that wheels have S3's default content type, that pages carry
the same cache headers as files, that pages name no ``requires-python``, that
the Accept header is ignored, that ``/<project>`` leads to ``/<project>/`` with
301, that conditional and ranged requests go as S3 does them (one range only,
more are ignored), and the list of projects at ``/``. Left out: HTTP/2, the
CDN's own headers, regional redirects.

What pypi.org answers
=====================

Known, from PEPs 503, 592, 658, 691, 700, 714 and the Warehouse sources: pages
at ``/simple/<project>/`` in JSON or HTML by the Accept header, other spellings
and a missing slash redirected with 301, ``cache-control: max-age=600, public``
and an ETag; files immutable, ``<file>.metadata`` beside each wheel. Assumed or
simplified: one host serves pages and files, file paths hold SHA-256 rather
than BLAKE2 digits, no compression.
"""

from __future__ import annotations

import base64
import contextlib
import email
import email.utils
import gzip
import hashlib
import html
import http.server
import json
import re
import select
import shutil
import socket
import ssl
import tarfile
import tempfile
import threading
import time
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote, unquote, urlsplit

from .certificates import make_certificates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Flavour = Literal["nvidia", "pypi"]
Lie = Literal["start", "size", "bytes", "length"]
Tags = Literal["changing", "weak", "none"]

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HTML_TYPE = "application/vnd.pypi.simple.v1+html"

_UPLOADED = datetime(2024, 1, 1, tzinfo=UTC)
_BLOCK = 1 << 16
_BLINK_SECONDS = 0.05
_SIGNED = "/signed/"
_NO_STORE: Mapping[str, str] = {
    "Cache-Control": "max-age=0, no-cache, no-store",
    "Pragma": "no-cache",
}
_PAGE_CACHE: Mapping[Flavour, Mapping[str, str]] = {
    "nvidia": _NO_STORE,
    "pypi": {"Cache-Control": "max-age=600, public", "Vary": "Accept, Accept-Encoding"},
}
_FILE_CACHE: Mapping[Flavour, Mapping[str, str]] = {
    "nvidia": _NO_STORE,
    "pypi": {"Cache-Control": "max-age=365000000, immutable, public"},
}
_SERVER: Mapping[Flavour, str] = {"nvidia": "AmazonS3", "pypi": "nginx/1.13.9"}


@dataclass(frozen=True)
class Request:
    """One request as it was answered.

    Attributes:
        method: ``GET`` or ``HEAD``.
        path: The path as sent, escapes and all.
        status: The status answered.
        body_bytes: Bytes of the answer's body handed to the socket so far.
        headers: The request's headers, their names in lower case.
    """

    method: str
    path: str
    status: int
    body_bytes: int
    headers: Mapping[str, str]

    @property
    def filename(self) -> str:
        """The last segment of the path, unescaped."""
        return _last_segment(self.path)


@dataclass(frozen=True)
class PublishedFile:
    """A file as the index lists it."""

    project: str
    filename: str
    content: Path
    size: int
    sha256: str
    md5: str
    uploaded: datetime
    requires_python: str | None
    yanked: str | None
    metadata: bytes | None

    @property
    def etag(self) -> str:
        """The strong entity tag, quotes included."""
        return f'"{self.md5}"'


@dataclass
class _Entry:
    """A request under way, or done."""

    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    is_file: bool = False
    body_bytes: int = 0

    def freeze(self) -> Request:
        return Request(self.method, self.path, self.status, self.body_bytes, self.headers)


@dataclass
class _Counted:
    """A fault that holds for a number of requests, or for good."""

    value: int
    times: int | None

    def take(self) -> bool:
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


@dataclass(frozen=True)
class _Answer:
    """What to send: a short body, or a stretch of a published file."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    file: PublishedFile | None = None
    start: int = 0
    length: int = 0
    encoded: bool = False
    shifted: int = 0

    @property
    def body_length(self) -> int:
        return self.length if self.file is not None else len(self.body)


@dataclass
class _Faults:
    corrupted: dict[str, _Counted] = field(default_factory=dict)
    truncated: dict[str, _Counted] = field(default_factory=dict)
    broken: dict[str, _Counted] = field(default_factory=dict)
    stalled: dict[str, _Counted] = field(default_factory=dict)
    failures: dict[str, _Counted] = field(default_factory=dict)
    trickles: dict[str, _Counted] = field(default_factory=dict)
    trickle_rate: float = 0.0
    delays: dict[str, float] = field(default_factory=dict)
    bytes_per_second: float | None = None
    retry_after: str | None = None
    rangeless: set[str] = field(default_factory=set)
    lies: dict[str, Lie] = field(default_factory=dict)
    tags: dict[str, Tags] = field(default_factory=dict)
    encoded: set[str] = field(default_factory=set)
    lengthless: set[str] = field(default_factory=set)
    hashless: set[str] = field(default_factory=set)
    head_lengths: dict[str, int] = field(default_factory=dict)
    signed: dict[str, int] = field(default_factory=dict)
    most_bodies: int | None = None


class IndexSimulator:
    """A package index that counts what it serves and fails on demand.

    Use it as a context manager. All methods may be called from any thread,
    also while requests are under way.
    """

    def __init__(
        self,
        flavour: Flavour = "nvidia",
        *,
        tls: bool = False,
        demands_certificate: bool = False,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        """Prepare an index; it listens from ``start`` on.

        Args:
            flavour: Whose index to repeat.
            tls: Whether to serve HTTPS, by a certificate of ``ca_path``.
            demands_certificate: Whether clients have to show one too, as in ``client_path``.
            credentials: User and password to demand by basic authentication.
        """
        self.flavour: Flavour = flavour
        self.credentials = credentials
        self._tls = tls
        self._demands_certificate = demands_certificate
        self._folder = tempfile.TemporaryDirectory(prefix="index-simulator-")
        self._lock = threading.RLock()
        self._files: dict[str, PublishedFile] = {}
        self._faults = _Faults()
        self._log: list[_Entry] = []
        self._bodies = 0
        self._passes: dict[str, int] = {}
        self.most_bodies_seen = 0
        self._server: _Server | None = None
        self._origin: str | None = None
        self._thread: threading.Thread | None = None
        self.stopped = threading.Event()

    def __enter__(self) -> Self:
        """Start to listen."""
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        """Close the port and remove the published copies."""
        self.stop()
        self._folder.cleanup()

    def start(self) -> Self:
        """Listen on a free port of 127.0.0.1."""
        context = None
        if self._tls:
            made = make_certificates(Path(self._folder.name))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(made.chain, made.key)
            if self._demands_certificate:
                context.load_verify_locations(made.ca)
                context.verify_mode = ssl.CERT_REQUIRED
        self._server = _Server(self, context)
        scheme = "http" if context is None else "https"
        self._origin = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.02},
            name="index-simulator",
            daemon=True,
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the port and every connection; the log stays readable."""
        self.stopped.set()
        with self._lock:
            server, self._server = self._server, None
        if server is None or self._thread is None:
            return
        server.shutdown()
        server.server_close()
        server.close_connections()
        self._thread.join()

    @property
    def url(self) -> str:
        """The server's origin, without a slash at its end."""
        if self._origin is None:
            message = "the index simulator has not been started"
            raise RuntimeError(message)
        return self._origin

    @property
    def index_url(self) -> str:
        """What a client configures as its index."""
        return f"{self.url}/" if self.flavour == "nvidia" else f"{self.url}/simple/"

    @property
    def authenticated_index_url(self) -> str:
        """The index URL with the credentials in it, if any are demanded."""
        if self.credentials is None:
            return self.index_url
        user, password = (quote(part, safe="") for part in self.credentials)
        return self.index_url.replace("://", f"://{user}:{password}@", 1)

    @property
    def ca_path(self) -> Path:
        """PEM file of the private authority, as for ``SSL_CERT_FILE``."""
        if not self._tls:
            message = "the index simulator serves without TLS"
            raise RuntimeError(message)
        return Path(self._folder.name) / "ca.pem"

    @property
    def client_path(self) -> Path:
        """PEM file with a client's certificate and key, as for ``SSL_CLIENT_CERT``."""
        return self.ca_path.with_name("client.pem")

    def publish(
        self,
        path: Path,
        project: str | None = None,
        *,
        uploaded: datetime = _UPLOADED,
        yanked: str | None = None,
    ) -> PublishedFile:
        """List a copy of a file; one of the same name is replaced.

        Args:
            path: A wheel or a source distribution.
            project: Its project, by default that of the file name.
            uploaded: Upload time and modification time.
            yanked: Why the file is yanked, if it is.

        Returns:
            The file as listed.
        """
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        copy = Path(self._folder.name) / f"{sha256}-{path.name}"
        shutil.copyfile(path, copy)
        metadata = _core_metadata(path)
        published = PublishedFile(
            project=normalise(project or _project_of(path.name)),
            filename=path.name,
            content=copy,
            size=len(content),
            sha256=sha256,
            md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
            uploaded=uploaded,
            requires_python=email.message_from_bytes(metadata).get("Requires-Python"),
            yanked=yanked,
            metadata=metadata if path.suffix == ".whl" else None,
        )
        with self._lock:
            self._files[path.name] = published
        return published

    def file_url(self, filename: str) -> str:
        """Return the URL of a published file, without a fragment."""
        with self._lock:
            return self.url + self._file_path(self._files[filename])

    def corrupt(self, filename: str, *, times: int | None = None) -> None:
        """Serve a file with one byte flipped in its middle.

        Its page still lists the hash of what was published, and its ETag stays.

        Args:
            filename: The file.
            times: For how many GETs that reach this byte; by default for good.
        """
        with self._lock:
            self._faults.corrupted[filename] = _Counted(0, times)

    def truncate_after(self, filename: str, n: int, *, times: int | None = 1) -> None:
        """Close the connection after ``n`` bytes of a body.

        Args:
            filename: The file.
            n: How many bytes of the answer's body are sent. Answers that are
                no longer than that (ranges, say) neither break nor count.
            times: For how many GETs; ``None`` is for good.
        """
        with self._lock:
            self._faults.truncated[filename] = _Counted(n, times)

    def break_at(self, filename: str, offset: int, *, times: int | None = 1) -> None:
        """Close the connection before a byte of a file, wherever the answer began.

        Args:
            filename: The file.
            offset: The first byte of the file that is not sent.
            times: For how many GETs whose answer goes past it; ``None`` is for good.
        """
        with self._lock:
            self._faults.broken[filename] = _Counted(offset, times)

    def stall_at(self, filename: str, offset: int, *, times: int | None = 1) -> None:
        """Send nothing more from a byte of a file on, and keep the connection open.

        Args:
            filename: The file.
            offset: The first byte of the file that is not sent.
            times: For how many GETs whose answer goes past it; ``None`` is for good.
        """
        with self._lock:
            self._faults.stalled[filename] = _Counted(offset, times)

    def trickle_at(
        self, filename: str, offset: int, bytes_per_second: float, *, times: int | None = 1
    ) -> None:
        """Pace connections that bring a certain byte of a file, and no others.

        Args:
            filename: The file.
            offset: The byte.
            bytes_per_second: How much of each such answer's body to send a second.
            times: For how many GETs whose answer has it; ``None`` is for good.
        """
        with self._lock:
            self._faults.trickles[filename] = _Counted(offset, times)
            self._faults.trickle_rate = bytes_per_second

    def ignore_ranges(self, filename: str) -> None:
        """Answer each GET for a file with all of it."""
        with self._lock:
            self._faults.rangeless.add(filename)

    def lie_about_ranges(self, filename: str, lie: Lie) -> None:
        """Answer ranges of a file wrongly.

        Args:
            filename: The file.
            lie: What is wrong: the ``start`` that the answer names, the ``size`` of the
                whole that it names, the ``bytes`` that it has under a right name, or its
                ``length``, so that it has fewer bytes than it names.
        """
        with self._lock:
            self._faults.lies[filename] = lie

    def change_tags(self, filename: str, tags: Tags) -> None:
        """Answer for a file with another ETag each time, with weak ones, or without any.

        Without one there is no date of the last change either.
        """
        with self._lock:
            self._faults.tags[filename] = tags

    def encode(self, filename: str) -> None:
        """Send a file compressed by gzip, although nobody asked for it, and only whole."""
        with self._lock:
            self._faults.encoded.add(filename)

    def omit_length(self, filename: str) -> None:
        """Send a file in chunks, without its length, and only whole."""
        with self._lock:
            self._faults.lengthless.add(filename)

    def tell_length_of_head(self, filename: str, length: int) -> None:
        """Answer HEAD of a file with a length that is not its own."""
        with self._lock:
            self._faults.head_lengths[filename] = length

    def omit_hash(self, filename: str) -> None:
        """List a file without a hash on pages in HTML."""
        with self._lock:
            self._faults.hashless.add(filename)

    def redirect(self, filename: str, uses: int = 1) -> None:
        """Lead each request for a file to a URL that expires after a number of requests."""
        with self._lock:
            self._faults.signed[filename] = uses

    def limit_bodies(self, most: int | None, *, retry_after: str | None = None) -> None:
        """Answer with 429 where more file bodies than so many would be under way.

        Args:
            most: How many; ``None`` is for no limit.
            retry_after: The header's value, if there is to be one.
        """
        with self._lock:
            self._faults.most_bodies = most
            self._faults.retry_after = retry_after

    def throttle(self, bytes_per_second: float | None) -> None:
        """Pace every file body (so every connection), or with ``None`` no longer."""
        with self._lock:
            self._faults.bytes_per_second = bytes_per_second

    def fail(
        self,
        path_or_filename: str,
        status: int,
        times: int | None = None,
        *,
        retry_after: str | None = None,
    ) -> None:
        """Answer with an error status.

        Args:
            path_or_filename: A whole path (``/simple/foo/``), or the name of
                a file wherever it lies.
            status: The status to answer.
            times: For how many requests; by default for good.
            retry_after: The header's value, if there is to be one.
        """
        with self._lock:
            self._faults.failures[path_or_filename] = _Counted(status, times)
            self._faults.retry_after = retry_after

    def delay(self, filename: str, seconds: float) -> None:
        """Wait before each answer for a file (or a whole path)."""
        with self._lock:
            self._faults.delays[filename] = seconds

    def heal(self) -> None:
        """Take back every fault."""
        with self._lock:
            self._faults = _Faults()

    @property
    def requests(self) -> list[Request]:
        """All requests since the last reset, those under way included."""
        with self._lock:
            return [entry.freeze() for entry in self._log]

    def file_bytes_served(self, filename: str | None = None) -> int:
        """Return the bytes of file bodies sent, PEP 658 metadata apart.

        Args:
            filename: Count this file only.

        Returns:
            Bytes handed to the socket; a client that left early may have
            received less.
        """
        with self._lock:
            return sum(
                entry.body_bytes
                for entry in self._log
                if entry.is_file and filename in {None, _last_segment(entry.path)}
            )

    def gets(self, filename: str) -> int:
        """Return how many GETs there were for a file, whatever the status."""
        return sum(
            request.method == "GET" and request.filename == filename for request in self.requests
        )

    def reset_log(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._log = []

    # What follows is for the request handler.

    def open_entry(self, method: str, path: str, headers: Mapping[str, str]) -> _Entry:
        """Log a request that has come in."""
        entry = _Entry(method, path, 0, MappingProxyType(dict(headers)))
        with self._lock:
            self._log.append(entry)
        return entry

    def is_chunked(self, answer: _Answer) -> bool:
        """Return whether an answer is to have no length."""
        with self._lock:
            return answer.file is not None and answer.file.filename in self._faults.lengthless

    def count(self, entry: _Entry, length: int) -> None:
        """Log body bytes that are about to be sent."""
        with self._lock:
            entry.body_bytes += length

    def pace(self) -> float | None:
        """Return the bytes a second that a file body may take."""
        with self._lock:
            return self._faults.bytes_per_second

    def waiting_time(self, path: str) -> float:
        """Return the seconds to wait before the answer for a path."""
        with self._lock:
            delays = self._faults.delays
            return delays.get(path, delays.get(_last_segment(path), 0.0))

    def take_flip(self, answer: _Answer) -> int | None:
        """Return where in a file a byte is to be flipped."""
        file = answer.file
        if file is None:
            return None
        with self._lock:
            fault = self._faults.corrupted.get(file.filename)
            flip = file.size // 2
            if fault is None or not answer.start <= flip < answer.start + answer.length:
                return None
            return flip if fault.take() else None

    def take_truncation(self, answer: _Answer) -> int:
        """Return how many bytes of an answer's body to send."""
        if answer.file is None:
            return answer.body_length
        with self._lock:
            fault = self._faults.truncated.get(answer.file.filename)
            if fault is not None and fault.value < answer.body_length and fault.take():
                return fault.value
            reach = self._reach(self._faults.broken, answer)
            lie = self._faults.lies.get(answer.file.filename)
            if answer.status == HTTPStatus.PARTIAL_CONTENT and lie == "length":
                return answer.body_length // 2
            return answer.body_length if reach is None else reach

    def take_stall(self, answer: _Answer) -> int | None:
        """Return after how many bytes of an answer's body to send nothing more."""
        with self._lock:
            return None if answer.file is None else self._reach(self._faults.stalled, answer)

    def take_trickle(self, answer: _Answer) -> float | None:
        """Return the bytes a second that an answer's body alone may take."""
        with self._lock:
            if answer.file is None or self._reach(self._faults.trickles, answer) is None:
                return None
            return self._faults.trickle_rate

    def _reach(self, faults: dict[str, _Counted], answer: _Answer) -> int | None:
        fault = faults.get(answer.file.filename) if answer.file is not None else None
        if fault is None or not answer.start <= fault.value < answer.start + answer.length:
            return None
        return fault.value - answer.start if fault.take() else None

    def end_body(self) -> None:
        """Count a file body as no longer under way."""
        with self._lock:
            self._bodies -= 1

    def answer(self, method: str, path: str, headers: Mapping[str, str]) -> _Answer:
        """Return what to send for a request; a file's body counts as under way from here on."""
        with self._lock:
            path = urlsplit(path).path
            for key in (path, _last_segment(path)):
                fault = self._faults.failures.get(key)
                if fault is not None and fault.take():
                    return self._refuse(HTTPStatus(fault.value))
            if not self._is_allowed(headers):
                refusal = _error(HTTPStatus.UNAUTHORIZED, self.flavour)
                challenge = {"WWW-Authenticate": 'Basic realm="index"'}
                return _Answer(refusal.status, {**refusal.headers, **challenge}, refusal.body)
            found = self._find(method, path, headers)
            if found.file is not None and method == "GET":
                self._bodies += 1
                self.most_bodies_seen = max(self.most_bodies_seen, self._bodies)
            return found

    def _refuse(self, status: HTTPStatus) -> _Answer:
        refusal, after = _error(status, self.flavour), self._faults.retry_after
        if after is None:
            return refusal
        return _Answer(refusal.status, {**refusal.headers, "Retry-After": after}, refusal.body)

    def _is_allowed(self, headers: Mapping[str, str]) -> bool:
        if self.credentials is None:
            return True
        expected = base64.b64encode(":".join(self.credentials).encode()).decode()
        return headers.get("authorization", "") == f"Basic {expected}"

    def _file_path(self, file: PublishedFile) -> str:
        if self.flavour == "nvidia":
            return f"/{file.project}/{quote(file.filename)}"
        digits = file.sha256
        return f"/packages/{digits[:2]}/{digits[2:4]}/{digits[4:]}/{quote(file.filename)}"

    def _find(self, method: str, path: str, headers: Mapping[str, str]) -> _Answer:
        filename = _last_segment(path)
        file = self._files.get(filename)
        if path.startswith(_SIGNED):
            return self._signed_answer(method, path, headers)
        if file is not None and unquote(self._file_path(file)) == unquote(path):
            uses = self._faults.signed.get(filename)
            if uses is None:
                return self._file_answer(method, file, headers)
            there = f"{_SIGNED}{len(self._passes)}/{quote(filename)}"
            self._passes[there] = uses
            return _Answer(HTTPStatus.FOUND, {"Location": there, "Cache-Control": "no-store"})
        wheel = self._files.get(filename.removesuffix(".metadata"))
        if (
            self.flavour == "pypi"
            and wheel is not None
            and wheel.metadata is not None
            and unquote(path) == unquote(self._file_path(wheel)) + ".metadata"
        ):
            tag = f'"{hashlib.sha256(wheel.metadata).hexdigest()}"'
            fields = {**_FILE_CACHE["pypi"], "Content-Type": "binary/octet-stream", "ETag": tag}
            return _conditional(headers, fields, wheel.metadata)
        return self._page(path, headers)

    def _page(self, path: str, headers: Mapping[str, str]) -> _Answer:
        root = "/" if self.flavour == "nvidia" else "/simple/"
        projects = {file.project for file in self._files.values()}
        if path == root:
            return self._page_answer(headers, self._project_list(sorted(projects)))
        name = unquote(path.removeprefix(root).removesuffix("/"))
        # PyPI takes other spellings of a name; objects in a bucket have one.
        known = normalise(name) if self.flavour == "pypi" else name
        if not path.startswith(root) or known not in projects:
            return _error(HTTPStatus.NOT_FOUND, self.flavour)
        if path != f"{root}{known}/":
            location = {"Location": f"{root}{known}/", **_PAGE_CACHE[self.flavour]}
            return _Answer(HTTPStatus.MOVED_PERMANENTLY, location)
        files = [file for file in self._files.values() if file.project == known]
        files.sort(key=lambda file: file.filename)
        return self._page_answer(headers, self._project_page(known, files))

    def _page_answer(
        self,
        headers: Mapping[str, str],
        forms: tuple[dict[str, object], str],
    ) -> _Answer:
        document, text = forms
        kind: str | None = "text/html"
        if self.flavour == "pypi":
            kind = _negotiate(headers.get("accept", "*/*"))
        if kind is None:
            return _error(HTTPStatus.NOT_ACCEPTABLE, self.flavour)
        body = json.dumps(document).encode() if kind == JSON_TYPE else text.encode()
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        content_type = "text/html; charset=UTF-8" if kind == "text/html" else kind
        fields = {
            **_PAGE_CACHE[self.flavour],
            "Content-Type": content_type,
            "ETag": f'"{digest}"',
        }
        return _conditional(headers, fields, body)

    def _project_list(self, projects: list[str]) -> tuple[dict[str, object], str]:
        root = "" if self.flavour == "nvidia" else "/simple/"
        document: dict[str, object] = {
            "meta": {"api-version": "1.1", "_last-serial": len(self._files)},
            "projects": [{"name": project} for project in projects],
        }
        links = [f'<a href="{root}{project}/">{project}</a><br/>' for project in projects]
        return document, _html("Simple index", links)

    def _project_page(
        self,
        project: str,
        files: list[PublishedFile],
    ) -> tuple[dict[str, object], str]:
        versions = sorted({_version_of(file.filename) for file in files})
        document: dict[str, object] = {
            "meta": {"api-version": "1.1", "_last-serial": len(self._files)},
            "name": project,
            "versions": versions,
            "files": [self._file_document(file) for file in files],
        }
        links = [self._link(file) for file in files]
        return document, _html(f"Links for {project}", links)

    def _file_document(self, file: PublishedFile) -> dict[str, object]:
        metadata: object = False
        if file.metadata is not None:
            metadata = {"sha256": hashlib.sha256(file.metadata).hexdigest()}
        return {
            "filename": file.filename,
            "url": self.url + self._file_path(file),
            "hashes": {"sha256": file.sha256},
            "requires-python": file.requires_python,
            "size": file.size,
            "upload-time": file.uploaded.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "yanked": False if file.yanked is None else file.yanked or True,
            "core-metadata": metadata,
            "data-dist-info-metadata": metadata,
        }

    def _link(self, file: PublishedFile) -> str:
        if self.flavour == "nvidia":
            target, attributes = quote(file.filename), ""
        else:
            target, attributes = self.url + self._file_path(file), _attributes(file)
        fragment = "" if file.filename in self._faults.hashless else f"#sha256={file.sha256}"
        link = f'<a href="{target}{fragment}"{attributes}>'
        return f"{link}{html.escape(file.filename)}</a><br/>"

    def _signed_answer(self, method: str, path: str, headers: Mapping[str, str]) -> _Answer:
        self._passes[path] = self._passes.get(path, 0) - 1
        file = self._files.get(_last_segment(path))
        if file is None or self._passes[path] < 0:
            return _error(HTTPStatus.FORBIDDEN, self.flavour)
        return self._file_answer(method, file, headers)

    def _tag(self, file: PublishedFile) -> str:
        tags = self._faults.tags.get(file.filename)
        if tags == "changing":
            return f'"{file.md5}-{len(self._log)}"'
        return f"W/{file.etag}" if tags == "weak" else file.etag

    def _file_answer(
        self,
        method: str,
        file: PublishedFile,
        headers: Mapping[str, str],
    ) -> _Answer:
        name, faults = file.filename, self._faults
        if faults.most_bodies is not None and self._bodies >= faults.most_bodies:
            return self._refuse(HTTPStatus.TOO_MANY_REQUESTS)
        modified = email.utils.format_datetime(file.uploaded, usegmt=True)
        fields = {
            **_FILE_CACHE[self.flavour],
            "Content-Type": self._content_type(file.filename),
            "Last-Modified": modified,
            "ETag": self._tag(file),
            "Accept-Ranges": "bytes",
        }
        if faults.tags.get(name) == "none":
            del fields["ETag"], fields["Last-Modified"]
        if self.flavour == "nvidia":
            fields["Expires"] = email.utils.formatdate(usegmt=True)
        if _is_unmodified(headers, fields):
            return _Answer(HTTPStatus.NOT_MODIFIED, fields)
        if name in faults.encoded:
            fields["Content-Encoding"] = "gzip"
            return _Answer(HTTPStatus.OK, fields, gzip.compress(file.content.read_bytes(), 1))
        if method == "HEAD" and name in faults.head_lengths:
            return _Answer(HTTPStatus.OK, fields, file=file, length=faults.head_lengths[name])
        wanted = headers.get("range")
        tag = fields.get("ETag", "")
        condition = headers.get("if-range", tag)
        # RFC 9110 defines ranges for GET alone.
        if wanted is not None and method == "GET" and condition in {tag, modified}:
            return self._part_answer(file, wanted, fields)
        return _Answer(HTTPStatus.OK, fields, file=file, length=file.size)

    def _part_answer(self, file: PublishedFile, wanted: str, fields: dict[str, str]) -> _Answer:
        name, faults = file.filename, self._faults
        whole = _Answer(HTTPStatus.OK, fields, file=file, length=file.size)
        if name in faults.rangeless or name in faults.lengthless:
            return whole
        stretch = parse_range(wanted, file.size)
        if stretch is None:
            return whole
        start, stop = stretch
        if start >= stop:
            refusal = _error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, self.flavour)
            unsatisfied = {**refusal.headers, "Content-Range": f"bytes */{file.size}"}
            return _Answer(refusal.status, unsatisfied, refusal.body)
        lie = faults.lies.get(name)
        named = start + 1 if lie == "start" else start
        size = file.size + 1 if lie == "size" else file.size
        fields["Content-Range"] = f"bytes {named}-{stop - 1}/{size}"
        # Other bytes than the name says, but for the file's first ones.
        shifted = -1 if lie == "bytes" and start else 0
        return _Answer(
            HTTPStatus.PARTIAL_CONTENT,
            fields,
            file=file,
            start=start,
            length=stop - start,
            shifted=shifted,
        )

    def _content_type(self, filename: str) -> str:
        if not filename.endswith(".tar.gz"):
            return "binary/octet-stream"
        return "application/x-gzip" if self.flavour == "nvidia" else "application/x-tar"


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, simulator: IndexSimulator, context: ssl.SSLContext | None) -> None:
        self.simulator = simulator
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        if context is not None:
            # The handshake is left to the first read, in the handler's thread:
            # a client that stalls in it holds up nobody else.
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._connections_lock:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as the base has it
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        with self._connections_lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet: clients that leave or distrust us are what tests do."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def version_string(self) -> str:
        return _SERVER[self.server.simulator.flavour]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keep quiet: the simulator has a log of its own."""

    def _serve(self) -> None:
        simulator = self.server.simulator
        headers = {name.lower(): value for name, value in self.headers.items()}
        entry = simulator.open_entry(self.command, self.path, headers)
        if simulator.stopped.wait(simulator.waiting_time(urlsplit(self.path).path)):
            self.close_connection = True
            return
        answer = simulator.answer(self.command, self.path, headers)
        try:
            self._send(entry, answer)
        finally:
            if answer.file is not None and self.command == "GET":
                simulator.end_body()

    def _send(self, entry: _Entry, answer: _Answer) -> None:
        simulator = self.server.simulator
        entry.status = int(answer.status)
        entry.is_file = answer.file is not None
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        chunked = simulator.is_chunked(answer)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif answer.status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(answer.body_length))
        self.end_headers()
        if self.command == "HEAD" or answer.status == HTTPStatus.NOT_MODIFIED:
            return
        allowed = simulator.take_truncation(answer)
        if allowed < answer.body_length:
            self.close_connection = True
        try:
            self._send_body(entry, answer, allowed, chunked=chunked)
        except OSError:
            self.close_connection = True

    def _send_body(self, entry: _Entry, answer: _Answer, allowed: int, *, chunked: bool) -> None:
        simulator = self.server.simulator
        flip = simulator.take_flip(answer)
        stall = simulator.take_stall(answer)
        trickle = simulator.take_trickle(answer)
        began, sent = time.monotonic(), 0
        for block in _blocks(answer, allowed if stall is None else min(stall, allowed), flip):
            # Counted first: who has received a whole body finds it in the log.
            simulator.count(entry, len(block))
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
            sent += len(block)
            pace = trickle or (simulator.pace() if answer.file is not None else None)
            if pace is not None:
                due = began + sent / pace - time.monotonic()
                if simulator.stopped.wait(max(0.0, due)):
                    self.close_connection = True
                    return
        if stall is not None:
            self.close_connection = True
            self.wfile.flush()
            self._wait_for_the_client_to_leave()
        elif chunked and not self.close_connection:
            self.wfile.write(b"0\r\n\r\n")

    def _wait_for_the_client_to_leave(self) -> None:
        while not self.server.simulator.stopped.is_set():
            if select.select([self.connection], [], [], _BLINK_SECONDS)[0]:
                return


def _blocks(answer: _Answer, allowed: int, flip: int | None) -> Iterator[bytes]:
    if answer.file is None:
        yield answer.body[:allowed]
        return
    with answer.file.content.open("rb") as source:
        source.seek(answer.start + answer.shifted)
        position, end = answer.start, answer.start + allowed
        while position < end:
            block = source.read(min(_BLOCK, end - position))
            if flip is not None and position <= flip < position + len(block):
                changed = bytearray(block)
                changed[flip - position] ^= 0xFF
                block = bytes(changed)
            position += len(block)
            yield block


def normalise(name: str) -> str:
    """Return a project's name in the normal form of PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_range(value: str, size: int) -> tuple[int, int] | None:
    """Return the stretch that a Range header asks for.

    Args:
        value: The header, such as ``bytes=0-99``.
        size: The length of the whole.

    Returns:
        Start and stop; an empty stretch where nothing can satisfy the
        header, ``None`` where it is to be ignored: another unit, more ranges
        than one, or nonsense.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", value.replace(" ", ""))
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        return None if not last else (max(0, size - int(last)), size)
    start = int(first)
    if last and int(last) < start:
        return None
    return min(start, size), min(int(last) + 1, size) if last else size


def _last_segment(path: str) -> str:
    return unquote(urlsplit(path).path.rpartition("/")[2])


def _project_of(filename: str) -> str:
    if filename.endswith(".whl"):
        return filename.partition("-")[0]
    return filename.removesuffix(".tar.gz").rpartition("-")[0]


def _version_of(filename: str) -> str:
    if filename.endswith(".whl"):
        return filename.split("-")[1]
    return filename.removesuffix(".tar.gz").rpartition("-")[2]


def _core_metadata(path: Path) -> bytes:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            names = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
            return wheel.read(names[0])
    with tarfile.open(path) as sdist:
        for member in sdist:
            content = sdist.extractfile(member)
            if re.fullmatch(r"([^/]+/)?PKG-INFO", member.name) and content is not None:
                return content.read()
    message = f"{path.name} has no PKG-INFO"
    raise ValueError(message)


def _attributes(file: PublishedFile) -> str:
    found: dict[str, str] = {}
    if file.requires_python is not None:
        found["data-requires-python"] = file.requires_python
    if file.metadata is not None:
        digest = f"sha256={hashlib.sha256(file.metadata).hexdigest()}"
        found["data-dist-info-metadata"] = digest
        found["data-core-metadata"] = digest
    if file.yanked is not None:
        found["data-yanked"] = file.yanked
    return "".join(f' {name}="{html.escape(value)}"' for name, value in found.items())


def _html(title: str, links: list[str]) -> str:
    head = '<meta name="pypi:repository-version" content="1.0">'
    lines = ["<!DOCTYPE html>", "<html>", f"<head>{head}<title>{title}</title></head>"]
    return "\n".join([*lines, "<body>", f"<h1>{title}</h1>", *links, "</body>", "</html>", ""])


def _error(status: HTTPStatus, flavour: Flavour) -> _Answer:
    if flavour == "nvidia":
        code = status.phrase.title().replace(" ", "")
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>\n'
        return _Answer(status, {**_NO_STORE, "Content-Type": "application/xml"}, body.encode())
    body = f"{status.value} {status.phrase}\n"
    return _Answer(status, {"Content-Type": "text/plain; charset=UTF-8"}, body.encode())


def _conditional(headers: Mapping[str, str], fields: Mapping[str, str], body: bytes) -> _Answer:
    if _is_unmodified(headers, fields):
        return _Answer(HTTPStatus.NOT_MODIFIED, fields)
    return _Answer(HTTPStatus.OK, fields, body)


def _is_unmodified(headers: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    tags = headers.get("if-none-match")
    if tags is not None:
        listed = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return bool(listed & {"*", fields.get("ETag")})
    since, modified = headers.get("if-modified-since"), fields.get("Last-Modified")
    if since is None or modified is None:
        return False
    try:
        seen = email.utils.parsedate_to_datetime(since)
        return email.utils.parsedate_to_datetime(modified) - seen <= timedelta(0)
    except (TypeError, ValueError):
        return False


def _negotiate(accept: str) -> str | None:
    """Return the content type for an Accept header, if there is one."""
    weights: dict[str, float] = {}
    for item in accept.split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                weight = float(parameter.removeprefix("q="))
        weights[kind.lower()] = weight
    offers: list[tuple[float, str]] = []
    # HTML first: it is what PyPI prefers among equals.
    for kind in ("text/html", HTML_TYPE, JSON_TYPE):
        latest = kind.replace(".v1+", ".latest+")
        wildcard = kind.partition("/")[0] + "/*"
        for pattern in (kind, latest, wildcard, "*/*"):
            if pattern in weights:
                offers.append((weights[pattern], kind))
                break
    best = max(offers, key=lambda offer: offer[0], default=(0.0, ""))
    return best[1] if best[0] > 0 else None
