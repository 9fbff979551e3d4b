"""Looking up names that clients chose. The name server behind such a name may be theirs, too, and take its time.

So these lookups have threads of their own, few, that nobody waits for when the proxy stops: a name that hangs delays no lookup
of a node, and no other work that is done in threads.
"""

import asyncio
import contextlib
import socket
from typing import Final

from libs.common.errors import NodeUnreachable
from libs.common.http_link import in_words
from libs.common.lifecycle import threaded

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

        def look_up() -> list[str]:
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            finally:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                    loop.call_soon_threadsafe(self._room.release)
            return list(dict.fromkeys(str(each[4][0]) for each in found))[:ADDRESSES_COUNT]

        try:
            return await threaded(look_up, "resolver")
        except (OSError, UnicodeError) as error:
            raise NodeUnreachable(f"{host} cannot be reached ({in_words(error)})") from None


def is_own(address: str) -> bool:
    """Whether an address is one of this computer's: others cannot be bound to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
