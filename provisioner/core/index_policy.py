"""How long what an index gives may be used again: which rule says so, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from provisioner.core.file_names import package_of
from provisioner.core.pages import is_file, lifetime
from provisioner.core.profile import CacheControl, Index
from provisioner.core.project import normalise
from provisioner.core.urls import file_name, is_below, is_same_index, plain

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind = Literal["page", "metadata", "file"]

IMMUTABLE: Final = "max-age=365000000, immutable, public"
REVALIDATE: Final = "no-cache"

_SHIPPED: Final = "gpuenv's defaults"
_FILES: Final = "max-age=365000000, immutable"
_NVIDIA: Final = CacheControl(api="max-age=600", files=_FILES)

SHIPPED: Final = (
    Index(name="nvidia", url="https://pypi.nvidia.com/", cache_control=_NVIDIA, origin=_SHIPPED),
    Index(
        name="nvidia-ngc",
        url="https://pypi.ngc.nvidia.com/",
        cache_control=_NVIDIA,
        origin=_SHIPPED,
    ),
    Index(
        name="pytorch",
        url="https://download.pytorch.org/",
        cache_control=_NVIDIA,
        origin=_SHIPPED,
    ),
    Index(
        name="pytorch-files",
        url="https://download-r2.pytorch.org/",
        cache_control=_NVIDIA,
        origin=_SHIPPED,
    ),
    Index(
        name="pypi",
        url="https://pypi.org/simple/",
        cache_control=CacheControl(files=_FILES),
        origin=_SHIPPED,
    ),
    Index(
        name="pypi-files",
        url="https://files.pythonhosted.org/",
        cache_control=CacheControl(files=_FILES),
        origin=_SHIPPED,
    ),
)
"""What counts where nobody says anything else.

NVIDIA's indexes forbid to keep what never changes (uv issue 16959), PyTorch's mirrors of them
repeat that; uv overrides it for files of two of these hosts (uv pull request 17164). PyPI says
itself how long its pages hold.
"""

_METADATA: Final = ".metadata"


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What a URL stands for, as far as rules look at it.

    `package` is the normalised name, None for the page of a whole index. `index` is the URL
    of the index that named a file, which need not lie at the same host. `is_hashed` is
    whether a lock or an index page names the SHA-256 of a file.
    """

    url: str
    kind: Kind
    package: str | None
    index: str | None = None
    is_hashed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How long an answer may be used again, and why.

    Attributes:
        cache_control: What a client is told.
        lifetime: For how many seconds a kept answer does without asking the index.
        is_immutable: Whether a kept answer does for good.
        header: What the index said.
        rule: The entry that decided, None where it was the header or the hash.
        because: Why, in words.
    """

    cache_control: str
    lifetime: int
    is_immutable: bool
    header: str
    rule: Index | None
    because: str


def subject_of(url: str, *, index: str | None = None, is_hashed: bool = False) -> Subject:
    """What a URL stands for, by its form."""
    name = file_name(url)
    if is_file(url):
        package = package_of(name)
        return Subject(url=url, kind="file", package=package, index=index, is_hashed=is_hashed)
    if urlsplit(url).path.endswith(_METADATA):
        package = package_of(name.removesuffix(_METADATA))
        return Subject(url=url, kind="metadata", package=package, index=index)
    return Subject(url=url, kind="page", package=normalise(file_name(plain(url))) or None)


def is_of(subject: Subject, index: Index) -> bool:
    """Whether something comes from an index: it lies below it, or was named by it."""
    named = subject.index is not None and (
        is_same_index(subject.index, index.url) or is_below(subject.index, index.url)
    )
    return named or is_below(subject.url, index.url)


def policy_for(subject: Subject, header: str, rules: Iterable[Index]) -> Policy:
    """Decide how long an answer may be used again.

    Of the rules, the strongest first, the first counts that is about the URL and package and
    says something for its kind: `files` for files, `api` for pages and metadata. Only what has
    a hash is immutable, whatever rule or header say (law 5).
    """
    applying = [
        rule
        for rule in rules
        if is_of(subject, rule) and (not rule.packages or rule.claims(subject.package))
    ]
    if subject.kind == "file":
        return _of_file(subject, header, [rule for rule in applying if rule.cache_control.files])
    for rule in applying:
        if rule.cache_control.api:
            return _revalidated(
                rule.cache_control.api,
                header,
                rule,
                "a rule for its index is stronger than its header",
            )
    if header:
        return _revalidated(header, header, None, "no rule is about it, so the index decides")
    because = "no rule is about it, and the index says nothing"
    return _revalidated(REVALIDATE, header, None, because)


def _of_file(subject: Subject, header: str, rules: list[Index]) -> Policy:
    if not subject.is_hashed:
        because = "neither a lock nor a page is known to name its hash, and only that is for good"
        # What the header says holds for clients; ours is compared with the server's each time.
        return Policy(
            cache_control=_kept(header),
            lifetime=0,
            is_immutable=False,
            header=header,
            rule=None,
            because=because,
        )
    rule = rules[0] if rules else None
    said = rule.cache_control.files if rule else None
    return Policy(
        cache_control=said or IMMUTABLE,
        lifetime=lifetime(IMMUTABLE),
        is_immutable=True,
        header=header,
        rule=rule,
        because="its hash is known, so that it can be no other file"
        + ("; the rule is what clients are told" if rule else ""),
    )


def _revalidated(control: str, header: str, rule: Index | None, because: str) -> Policy:
    told = _kept(control)
    return Policy(
        cache_control=told,
        lifetime=lifetime(told),
        is_immutable=False,
        header=header,
        rule=rule,
        because=because,
    )


def _kept(control: str) -> str:
    """What an answer may carry: never for good, and always kept by the client.

    `no-store` becomes `no-cache`. Both are asked for anew each time there is a network, but
    without one uv can still use the second to build what has changed in the project.
    """
    terms = [part.strip() for part in control.split(",")]
    left = [term for term in terms if term and term.lower() not in {"immutable", "no-store"}]
    if len(left) < len(terms) and "no-store" in control.lower() and REVALIDATE not in left:
        left.append(REVALIDATE)
    return ", ".join(left) or REVALIDATE
