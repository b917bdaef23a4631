"""URLs as they are compared and shown."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit, urlunsplit


def without_secrets(url: str) -> str:
    """A URL without user name, password and fragment, fit for logs and for comparing."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # Not a URL at all, but what stands before the host may be a secret even so.
        return url.rpartition("@")[2]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, parts.query, ""))


def without_query(url: str) -> str:
    """A URL fit to be kept: what stands behind the `?` may be a signature."""
    return without_secrets(url).partition("?")[0]


def file_name(url: str) -> str:
    """The last segment of a URL, decoded; only ever shown, never used as a path."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def is_remote(url: str | None) -> bool:
    """Whether a URL is one to fetch; uv itself reads files of this machine."""
    return url is not None and url.lower().startswith(("http://", "https://"))


def origin(url: str) -> str:
    """Scheme, host and port, which credentials belong to; empty for what is no URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}"


def credentials_in(url: str) -> dict[str, tuple[str, str]]:
    """The user and password that stand in a URL, by the origin that they belong to."""
    place = origin(url)
    if not place:
        return {}
    parts = urlsplit(url)
    if not (parts.username or parts.password):
        return {}
    return {place: (unquote(parts.username or ""), unquote(parts.password or ""))}
