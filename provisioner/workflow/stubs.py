"""Find out which wheels the stub source distributions of locks stand for, without a build."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

from provisioner.adapters._origin import FileAnswer, Request
from provisioner.adapters.archives import project_file
from provisioner.core.answers import Whole, meaning
from provisioner.core.digest import Digest
from provisioner.core.file_names import release_of
from provisioner.core.pages import listed_files
from provisioner.core.plan import FetchPlan, LockedFile, LockedSet, Substitution, plan_fetch
from provisioner.core.stubs import (
    STUB_BYTES,
    Stub,
    best_wheel,
    may_be_stub,
    no_wheel,
    read_stub,
    wheels_of,
)
from provisioner.core.urls import without_secrets
from provisioner.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from packaging.tags import Tag

    from provisioner.core.simple_index import ListedFile
    from provisioner.workflow.pull import Pull
    from provisioner.workflow.world import World

_OK = 200
# As pages that are not there: buckets say 403 of what nobody may list.
_ABSENT = frozenset({403, 404, 410})


class StubReader:
    """Reads stubs, and the pages that they name.

    `keeps` is whether files may come into the store for that. Without it (a dry run, or where
    only locks are made) source distributions that are known to be small are looked into, and
    what cannot be reached stays unknown.
    """

    def __init__(self, world: World, pull: Pull, *, keeps: bool) -> None:
        self._variables = world.variables
        self._note = world.progress.note
        self._pull = pull
        self._keeps = keeps and pull.store.is_writable
        self._seen: dict[Digest, bytes] = {}

    def with_wheels(
        self, contents: Sequence[LockedSet], tags: Sequence[Tag]
    ) -> tuple[LockedSet, ...]:
        """What locks mean for a target, with the wheel of each stub among the files.

        Raises:
            LockError: the index that a stub names has no wheel for the target.
            GpuenvError: a stub, or what its index has, cannot be had.
        """
        files = {file.digest: file for one in contents for file in one.files}
        self._bring(files.values())
        wheels: dict[Digest, LockedFile] = {}
        for file in files.values():
            if (stub := self.stub_in(file)) and (wheel := self._wheel(stub, tags)):
                wheels[file.digest] = wheel
        return tuple(_with_wheels(one, wheels) for one in contents)

    def every_wheel(self, file: LockedFile) -> tuple[LockedFile, ...]:
        """The wheels for all targets that a stub stands for; none for what is no stub.

        Those without a SHA-256 are left out, since a lock has to have one.

        Raises:
            LockError: the index that it names has no wheel of its release.
            GpuenvError: as `with_wheels`.
        """
        self._bring([file])
        stub = self.stub_in(file)
        if stub is None or (listed := self._listed(stub)) is None:
            return ()
        if not (wheels := wheels_of(stub, listed)):
            raise no_wheel(stub, listed, ())
        locked = (self._locked(stub, wheel) for wheel in wheels if wheel.digest)
        return tuple(filter(None, locked))

    def stub_in(self, file: LockedFile) -> Stub | None:
        """What a file stands for; None for one that is no stub, or was not looked into."""
        store = self._pull.store
        if not may_be_stub(file.name, file.size):
            return None
        if file.digest in store and store.size(file.digest) <= STUB_BYTES:
            with store.blob(file.digest).open("rb") as blob:
                text = project_file(blob, file.name)
        else:
            text = project_file(BytesIO(self._seen.get(file.digest, b"")), file.name)
        return read_stub(text, file.name, self._variables) if text else None

    def lacking(self, file: LockedFile) -> Stub | None:
        """What a stub stands for, where its wheel is not in the store, as far as that is known."""
        stub = self.stub_in(file)
        if stub is None:
            return None
        kept = self._pull.kept_page(stub.page)
        listed = listed_files(kept.body, kept.headers, kept.url) if kept else ()
        wheels = (wheel.digest for wheel in wheels_of(stub, listed))
        return None if any(digest in self._pull.store for digest in wheels if digest) else stub

    def _bring(self, files: Iterable[LockedFile]) -> None:
        """Get what may be a stub, to look into it.

        One whose size neither the lock nor the server tells is fetched too: what is built needs
        it in any case. Larger ones are left to the plan, which looks for room first.
        """
        pull = self._pull
        some = [file for file in files if may_be_stub(file.name, file.size)]
        missing = plan_fetch(some, pull.ledger if self._keeps else pull.store).missing
        if pull.offline:
            return
        if self._keeps:
            small = tuple(file for file in missing if may_be_stub(file.name, self._estimate(file)))
            if small:
                pull.fetch(FetchPlan(missing=small, held=()))
            return
        for file in missing:
            if file.size is not None and file.digest not in self._seen:
                self._seen[file.digest] = self._peek(file)

    def _peek(self, file: LockedFile) -> bytes:
        """A small file, which is not kept; empty where it is not what the lock says."""
        import hashlib

        body = bytearray()
        try:
            with self._pull.relay(_asking("GET", file.url)) as answer:
                for block in answer.blocks:
                    body += block
                    if len(body) > STUB_BYTES:
                        return b""
        except NetworkError as error:
            self._note(f"whether `{file.name}` is a stub is not known: {error.message}")
        return bytes(body) if hashlib.sha256(body).hexdigest() == file.digest.hex else b""

    def _estimate(self, file: LockedFile) -> int | None:
        """The size in bytes of a file, as the lock or page tells, or else about the server's.

        Some servers answer HEAD with a length of 0, or with that of another encoding.
        """
        if file.size is not None:
            return file.size
        if file.digest in self._pull.store:
            return self._pull.store.size(file.digest)
        try:
            with self._pull.relay(_asking("HEAD", file.url)) as answer:
                found = meaning(answer.status, answer.headers, None)
                return (found.size or None) if isinstance(found, Whole) else None
        except NetworkError:
            return None  # Whoever fetches it says why.

    def _wheel(self, stub: Stub, tags: Sequence[Tag]) -> LockedFile | None:
        """The wheel for a target; None if that stays unknown.

        A page that was kept does for good if it has one, since a release does not change.
        """
        kept = self._pull.kept_page(stub.page)
        listed = listed_files(kept.body, kept.headers, kept.url) if kept else ()
        wheel = best_wheel(wheels_of(stub, listed), tags)
        if wheel is None:
            now = self._listed(stub)
            if now is None:
                return None
            wheel = best_wheel(wheels_of(stub, now), tags)
            if wheel is None:
                raise no_wheel(stub, now, tags)
        return self._locked(stub, wheel)

    def _listed(self, stub: Stub) -> tuple[ListedFile, ...] | None:
        """What the index that a stub names has of its project; None if that stays unknown."""
        try:
            return self._now_listed(stub)
        except NetworkError as error:
            if self._keeps:
                raise NetworkError(
                    error.message,
                    causes=(
                        *error.causes,
                        f"the stub `{stub.name}` {stub.version} names that index for its wheel",
                    ),
                    hint=error.hint,
                    code=error.code,
                    data=error.data,
                ) from error
            self._note(
                f"what `{stub.name}` {stub.version} stands for is not known: {error.message}"
            )
            return None

    def _now_listed(self, stub: Stub) -> tuple[ListedFile, ...]:
        url, page = self._pull.page(stub.page)
        if page.status == _OK:
            return listed_files(page.body, page.headers, url)
        if page.status in _ABSENT:
            return ()
        message = f"could not fetch `{without_secrets(url)}`"
        cause = f"the server answered with status {page.status}"
        raise NetworkError(message, causes=(cause,), code="refused-by-server")

    def _locked(self, stub: Stub, wheel: ListedFile) -> LockedFile | None:
        """A wheel as a lock would name it; None where only a fetch could tell its hash."""
        if wheel.digest:
            file = LockedFile(
                name=wheel.name,
                url=wheel.url,
                digest=wheel.digest,
                size=wheel.size,
                index=stub.index.rstrip("/"),
            )
            return replace(file, estimate=self._estimate(file))
        if not self._keeps:
            return None
        self._note(f"{stub.index} tells no SHA-256 of `{wheel.name}`; what comes first counts")
        with self._pull.file(_asking("GET", wheel.url)) as answer:
            assert isinstance(answer, FileAnswer)  # noqa: S101 - it is whole now
            digest = Digest(answer.tag)
        return LockedFile(
            name=wheel.name,
            url=wheel.url,
            digest=digest,
            size=self._pull.store.size(digest),
            index=stub.index.rstrip("/"),
        )


def note_wheels(pull: Pull, substitutions: Iterable[Substitution]) -> None:
    """Note that it takes its wheel to build a stub, where it is known what else it takes."""
    for one in substitutions:
        if pull.store.is_writable and pull.ledger.knows_build(one.stub.digest):
            pull.ledger.built_with([one.stub.digest], [one.wheel.digest])


def told(substitutions: Iterable[Substitution]) -> tuple[dict[str, Any], ...]:
    """Substitutions as `--json` has them, each once; sizes in bytes, where they are known."""
    return tuple(
        {
            "name": name,
            "version": version,
            "stub": one.stub.name,
            "wheel": one.wheel.name,
            "bytes": one.wheel.likely_size,
            "index": one.wheel.index,
        }
        for one in dict.fromkeys(substitutions)
        for name, version in [release_of(one.stub.name) or (one.stub.name, "")]
    )


def _with_wheels(contents: LockedSet, wheels: dict[Digest, LockedFile]) -> LockedSet:
    found = tuple(
        Substitution(stub=file, wheel=wheels[file.digest])
        for file in contents.files
        if file.digest in wheels
    )
    new = tuple(dict.fromkeys(one.wheel for one in found))
    return replace(
        contents,
        files=(*contents.files, *new),
        known=(*contents.known, *new),
        substitutions=found,
    )


def _asking(method: str, url: str) -> Request:
    return Request(method=method, url=url, headers={})
