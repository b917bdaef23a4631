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
