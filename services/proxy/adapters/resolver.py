"""Looking up names that clients chose. The name server behind such a name may be theirs, too, and take its time.

So these lookups have threads of their own, few, that nobody waits for when the proxy stops: a name that hangs delays no lookup
of a node, and no other work that is done in threads.
"""

import asyncio
import contextlib
import socket
import threading
from typing import Final

from libs.common.errors import NodeUnreachable
from libs.common.http_link import in_words

THREADS_COUNT: Final = 4
ADDRESSES_COUNT: Final = 4
"""More of one name are not tried."""


class Resolver:
    """Finds the addresses of a name."""

    def __init__(self, threads_count: int = THREADS_COUNT) -> None:
        self._room = asyncio.Semaphore(threads_count)

    async def addresses(self, host: str, port: int) -> list[str]:
        """Find IP addresses, the preferred one first. Raises NodeUnreachable."""
        await self._room.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()
        threading.Thread(target=self._look_up, args=(loop, found, host, port), name="resolver", daemon=True).start()
        try:
            return await found
        except (OSError, UnicodeError) as error:
            raise NodeUnreachable(f"{host} cannot be reached ({in_words(error)})") from None

    def _look_up(self, loop: asyncio.AbstractEventLoop, found: asyncio.Future[list[str]], host: str, port: int) -> None:
        """Ask the system, in a thread."""
        addresses: list[str] = []
        trouble: Exception | None = None
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(answer[4][0]) for answer in answers))[:ADDRESSES_COUNT]
        except (OSError, UnicodeError) as error:
            trouble = error

        def tell() -> None:
            self._room.release()
            if found.done():
                return
            if trouble is None:
                found.set_result(addresses)
            else:
                found.set_exception(trouble)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(tell)


def is_own(address: str) -> bool:
    """Whether an address is one of this computer's: others cannot be bound to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
