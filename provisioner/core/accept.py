"""In which form a client wants an index page (PEP 691, "Content-Type")."""

from __future__ import annotations

from typing import Final

from provisioner.core.pages import JSON_PAGE
from provisioner.core.simple_index import HTML_PAGE

PLAIN_HTML: Final = "text/html"

_OFFERS: Final = (PLAIN_HTML, HTML_PAGE, JSON_PAGE)
"""Among equals the first counts: HTML, as with PyPI."""


def page_type(accept: str | None) -> str | None:
    """The content type to answer with; None where the client takes none that there is."""
    if accept is None or not accept.strip():
        return PLAIN_HTML
    weights = dict(_weight(item) for item in accept.lower().split(","))
    best = max(_OFFERS, key=lambda kind: _wish(kind, weights))  # The first of equals.
    return best if _wish(best, weights) > 0 else None


def _wish(kind: str, weights: dict[str, float]) -> float:
    """The weight of a content type, by the most specific pattern (RFC 9110, section 12.5.1)."""
    patterns = (kind, kind.replace(".v1+", ".latest+"), f"{kind.partition('/')[0]}/*", "*/*")
    return next((weights[pattern] for pattern in patterns if pattern in weights), 0.0)


def _weight(item: str) -> tuple[str, float]:
    """A pattern and its weight; one that is no number counts for nothing."""
    kind, *parameters = (part.strip() for part in item.split(";"))
    weight = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                weight = 0.0
    # Also what is no number at all, as NaN is written, or out of bounds.
    return kind, weight if 0 <= weight <= 1 else 0.0
