"""URLs as they are compared and shown."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit, urlunsplit


def without_secrets(url: str) -> str:
    """A URL without user name, password and fragment, fit for logs and for comparing."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, parts.query, ""))


def file_name(url: str) -> str:
    """The last segment of a URL, decoded; only ever shown, never used as a path."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def is_remote(url: str | None) -> bool:
    """Whether a URL is one to fetch; uv itself reads files of this machine."""
    return url is not None and urlsplit(url).scheme in {"http", "https"}


def origin(url: str) -> str:
    """Scheme, host and port, which credentials belong to."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def credentials_in(url: str) -> dict[str, tuple[str, str]]:
    """The user and password that stand in a URL, by the origin that they belong to."""
    parts = urlsplit(url)
    if not (parts.username or parts.password):
        return {}
    return {origin(url): (unquote(parts.username or ""), unquote(parts.password or ""))}
