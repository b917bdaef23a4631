"""A server of an origin's answers in a thread of the tests."""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioner.adapters.asgi import Application, server_of
from provisioner.adapters.serving import listening
from provisioner.core.access import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provisioner.adapters._origin import BodyAnswer, Origin, Request

SECONDS = 60.0


@dataclass
class Client:
    """Connections to a server, what it has told, and the faults in it."""

    port: int
    told: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    open: list[http.client.HTTPConnection] = field(default_factory=list)

    def ask(self, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        """Ask over a new connection; the answer's head has come."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        self.open.append(connection)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=sent)
        return connection.getresponse()


@contextmanager
def serving(
    origin: Origin,
    token: str | None = None,
    quick: Callable[[Request], BodyAnswer | None] = lambda _: None,
    is_held: Callable[[Request], bool] = lambda _: False,
) -> Iterator[Client]:
    """Serve on a free port."""
    with listening("127.0.0.1", 0) as listener:
        client = Client(listener.port)
        access = Access(names=listener.names, token=token)
        application = Application(
            origin, access, client.faults.append, client.told.append, quick, is_held
        )
        server = server_of(application)
        thread = threading.Thread(target=server.run, args=([listener.socket],))
        thread.start()
        try:
            yield client
        finally:
            server.should_exit = True
            thread.join()
            for connection in client.open:
                connection.close()
            application.close()
