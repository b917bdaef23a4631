"""A long-lived server of an `Origin`'s answers, in one process, on uvicorn."""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from provisioner import __version__
from provisioner.adapters._origin import ArrivingAnswer, BodyAnswer, FileAnswer, Request
from provisioner.core.access import Refusal
from provisioner.core.entity import file_head, file_headers

if TYPE_CHECKING:
    import socket
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Iterable,
        Iterator,
        Mapping,
        MutableMapping,
    )
    from typing import BinaryIO

    import uvicorn

    from provisioner.adapters._origin import Origin, RelayAnswer, Reply
    from provisioner.core.access import Access

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

SERVER: Final = f"gpuenv/{__version__}"

_HEAD_BYTES: Final = 32 << 10
# Read from the page cache: smaller pieces cost more calls than they save memory.
_BLOCK_BYTES: Final = 1 << 20
# Whoever waits for an index takes a thread for that long.
_THREADS: Final = 256
_READERS: Final = 4
# Those who are sent a file that arrives take turns.
_FOLLOWERS: Final = 32
# For what nobody has to wait for, however many wait for something else.
_PROMPT: Final = 8
# Linux alone: fail instead of waiting for the disk (preadv(2)).
_NO_WAIT: Final[int | None] = getattr(os, "RWF_NOWAIT", None)
_KEEP_ALIVE_SECONDS: Final = 60
_NOT_RELAYED: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "date", "server", "proxy-authenticate"}
)


class Application:
    """An ASGI application (HTTP only) that lets in whom `access` lets in.

    Whatever blocks is done in threads; what `quick` knows to answer is sent without one: it
    must neither block nor take long. What `is_held` says is there has threads of its own.
    `failed` is told of faults that nobody foresaw, and `told` is given a line for every request,
    without anything secret.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - who answers, who may ask, and who is told
        self,
        origin: Origin,
        access: Access,
        failed: Callable[[str], None],
        told: Callable[[str], None] | None = None,
        quick: Callable[[Request], BodyAnswer | None] = lambda _: None,
        is_held: Callable[[Request], bool] = lambda _: False,
    ) -> None:
        self._origin = origin
        self._is_held = is_held
        self._quick = quick
        self._access = access
        self._failed = failed
        self._told = told
        self._waiting = ThreadPoolExecutor(_THREADS, thread_name_prefix="answer")
        self._prompt = ThreadPoolExecutor(_PROMPT, thread_name_prefix="prompt")
        self._reading = ThreadPoolExecutor(_READERS, thread_name_prefix="read")
        self._following = ThreadPoolExecutor(_FOLLOWERS, thread_name_prefix="follow")

    def close(self) -> None:
        """Wait for the threads; what they wait for has to have been ended."""
        for pool in (self._waiting, self._prompt, self._reading, self._following):
            pool.shutdown(cancel_futures=True)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = _joined(scope["headers"])
        path = scope["raw_path"].decode("latin-1")
        if path.lower().startswith(("http://", "https://")):
            # As clients ask a proxy; its host counts instead of the header (RFC 9112, 3.2.2).
            headers["host"], slash, path = path.partition("://")[2].partition("/")
            path = slash + path
        exchange = _Exchange(scope["method"], headers, send, self._reading)
        try:
            request = Request(method=scope["method"], url=path, headers=headers)
            if sum(map(len, headers.values())) > _HEAD_BYTES:
                # h11 lets more pass where it comes in one piece.
                await exchange.refuse(Refusal(status=431, words="the headers are too large"))
            elif refusal := self._access.refusal(scope["method"], headers):
                await exchange.refuse(refusal)
            elif answer := self._quick(request):
                await exchange.body(answer)
            else:
                async with self._answering(request) as reply, exchange.watching(receive):
                    await self._pass_on(exchange, reply)
        except _BrokenOffError:
            pass  # The origin has told why; the server sees that the answer has no end.
        except Exception as error:
            self._failed(f"{type(error).__name__}: {error}")
            raise
        if self._told:
            self._told(f"{scope['method']} {ascii(path)[1:-1]} {exchange.status} {exchange.sent}")

    @asynccontextmanager
    async def _answering(self, request: Request) -> AsyncIterator[Reply]:
        loop = asyncio.get_running_loop()
        answer = self._origin.answer(request)
        pool = self._prompt
        reply = await loop.run_in_executor(
            pool, lambda: answer.__enter__() if self._is_held(request) else None
        )
        if reply is None:
            pool = self._waiting
            reply = await loop.run_in_executor(pool, answer.__enter__)
        try:
            yield reply
        finally:
            await loop.run_in_executor(pool, answer.__exit__, None, None, None)

    async def _pass_on(self, exchange: _Exchange, reply: Reply) -> None:
        if isinstance(reply, BodyAnswer):
            await exchange.body(reply)
        elif isinstance(reply, FileAnswer):
            await exchange.file(reply)
        elif isinstance(reply, ArrivingAnswer):
            await exchange.arriving(reply, _each(self._following, reply.stops))
        else:
            await exchange.relay(reply, _each(self._waiting, reply.blocks))


def _joined(lines: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name; what several lines say is one list (RFC 9110, section 5.3)."""
    found: dict[str, str] = {}
    for name_bytes, value_bytes in lines:
        name, value = name_bytes.decode("latin-1"), value_bytes.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


class _BrokenOffError(Exception):
    """What is being sent has no end."""


async def _each(pool: ThreadPoolExecutor, items: Iterator[Any]) -> AsyncIterator[Any]:
    """The items of an iterator that blocks."""
    loop = asyncio.get_running_loop()
    try:
        while (item := await loop.run_in_executor(pool, next, items, None)) is not None:
            yield item
    except Exception as error:
        raise _BrokenOffError from error


class _Exchange:
    """One answer on its way. It ends early where the client has gone.

    An answer that ends before its length is broken off by the server.
    """

    def __init__(
        self, method: str, asked: Mapping[str, str], send: Send, readers: ThreadPoolExecutor
    ) -> None:
        self._method = method
        self._asked = asked
        self._send = send
        self._readers = readers
        self._gone = False
        self.status = 0
        self.sent = 0

    @asynccontextmanager
    async def watching(self, receive: Receive) -> AsyncIterator[None]:
        """Notice while answering that the client goes away."""

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self._gone = True

        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            task.cancel()

    async def refuse(self, refusal: Refusal) -> None:
        """Say no."""
        headers = {"Content-Type": "text/plain; charset=utf-8", **refusal.headers}
        body = f"{refusal.words}\n".encode()
        await self.body(BodyAnswer(status=refusal.status, headers=headers, body=body))

    async def body(self, answer: BodyAnswer) -> None:
        """Send what is in memory."""
        has_body = answer.status != 304  # noqa: PLR2004 - Not Modified
        length = {"Content-Length": str(len(answer.body))} if has_body else {}
        await self._head(answer.status, {**answer.headers, **length})
        await self._end(answer.body if self._method != "HEAD" and has_body else b"")

    async def file(self, answer: FileAnswer) -> None:
        """Send a file of the store, or a part of it."""
        async with AsyncExitStack() as stack:
            file = stack.enter_context(answer.path.open("rb"))
            head = file_head(
                self._method,
                self._asked,
                tag=answer.tag,
                size=os.fstat(file.fileno()).st_size,
                cache_control=answer.cache_control,
            )
            await self._head(head.status, head.headers)
            if await self._part(file, head.first, head.count):
                await self._end()

    async def arriving(self, answer: ArrivingAnswer, stops: AsyncIterator[int]) -> None:
        """Send a file as far as it may be sent, until it is there, or the client is gone."""
        headers = file_headers(answer.tag, answer.cache_control)
        await self._head(200, {**headers, "Content-Length": str(answer.size)})
        at = 0
        async for stop in stops:
            if self._gone or not await self._part(answer.file, at, stop - at):
                return
            at = stop
        if at == answer.size:
            await self._end()

    async def relay(self, answer: RelayAnswer, blocks: AsyncIterator[bytes]) -> None:
        """Pass an answer on as it arrives."""
        headers = {k: v for k, v in answer.headers.items() if k not in _NOT_RELAYED}
        await self._head(answer.status, headers)
        if self._method == "GET":
            async for block in blocks:
                if self._gone:
                    return
                await self._block(block)
        if self.sent == int(headers.get("content-length", self.sent)) or self._method == "HEAD":
            await self._end()

    async def _part(self, file: BinaryIO, first: int, count: int) -> bool:
        """Send bytes of a file; whether all of them went."""
        while count and not self._gone:
            block = await self._read(file.fileno(), first, min(count, _BLOCK_BYTES))
            if not block:
                return False  # It was cut off meanwhile.
            first, count = first + len(block), count - len(block)
            await self._block(block)
        return not count

    async def _read(self, number: int, first: int, size: int) -> bytes:
        """Bytes of a file: at once from the page cache, else by a thread."""
        if _NO_WAIT is not None:
            block = bytearray(size)
            try:
                found = os.preadv(number, [block], first, _NO_WAIT)
            except OSError:
                found = 0  # Not there yet, or the file system cannot tell.
            if found:
                return bytes(memoryview(block)[:found])
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, os.pread, number, size, first)

    async def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        listed = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in headers.items()
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": listed})

    async def _block(self, block: bytes) -> None:
        self.sent += len(block)
        await self._send({"type": "http.response.body", "body": block, "more_body": True})

    async def _end(self, block: bytes = b"") -> None:
        self.sent += len(block)
        await self._send({"type": "http.response.body", "body": block, "more_body": False})


def run(application: Application, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, which are then raised again for whoever handles them.

    What is being sent at that moment is broken off.
    """
    server_of(application).run(sockets=[listener])


def server_of(application: Application) -> uvicorn.Server:
    """The server, which also ends once its `should_exit` is set."""
    import uvicorn

    # What it would say to standard error the application tells, or nobody has to know.
    logger = logging.getLogger("uvicorn")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    config = uvicorn.Config(
        application,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=[("server", SERVER)],
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=0,
        h11_max_incomplete_event_size=_HEAD_BYTES,
    )
    return uvicorn.Server(config)
