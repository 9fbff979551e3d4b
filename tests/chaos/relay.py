"""A TCP relay on loopback that is a bad network: it delays, throttles, freezes, drops, resets and cuts, on command.

    async with Relay(node.port) as relay:        # clients of the node connect to relay.port
        relay.delay_s = 0.2                      # every chunk comes so much later
        relay.rate_bytes_per_s = 50_000          # both ways
        relay.freeze(); relay.thaw()             # connections stay, nothing passes
        relay.cut(); relay.mend()                # open connections are reset, new ones too: both ways, at once
        relay.drop_next_count = 3                # the next connections are closed without a byte
        relay.reset_next(3, after_bytes=20_000)  # the next ones are reset after so many bytes of the client
        relay.swallow_answers_next_count = 1     # the next one's request arrives, the answer never comes back

Whoever connects sees what a real network shows: a reset is a reset (SO_LINGER 0), a frozen one is silence.
"""

import asyncio
import contextlib
import random
import socket
import struct
from types import TracebackType
from typing import Self

CHUNK_BYTES = 16_384
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Relay:
    """Passes bytes on to one port, as well or badly as it is told."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.delay_s = 0.0
        self.rate_bytes_per_s = 0.0
        self.drop_next_count = 0
        self.swallow_answers_next_count = 0
        self.passed_bytes = 0
        """Of clients, since the start."""
        self.resets_count = 0
        self._budgets: list[int] = []
        self._is_cut = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()

    def __repr__(self) -> str:
        """Show what it does to its connections."""
        return f"Relay({self.port}->{self.target_port} links={len(self._links)} cut={self._is_cut})"

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        self.well()
        while self._links:
            self.reset_all()
            await asyncio.sleep(0.01)
        await self._server.wait_closed()

    # --- commands ----------------------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Pass nothing on, keep everything open."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Go on."""
        self._flowing.set()

    def cut(self) -> None:
        """Reset what is open, and whatever is opened from now on."""
        self._is_cut = True
        self.reset_all()

    def mend(self) -> None:
        """Take connections again."""
        self._is_cut = False

    def reset_all(self) -> None:
        """Reset what is open at this moment."""
        for link in list(self._links):
            link.reset()

    def reset_next(self, count: int, after_bytes: int) -> None:
        """Reset the next connections half-way: after so many bytes of the client."""
        self._budgets += [after_bytes] * count

    def well(self) -> None:
        """Be a good network from now on."""
        self.mend()
        self.thaw()
        self.delay_s = self.rate_bytes_per_s = 0.0
        self.drop_next_count = self.swallow_answers_next_count = 0
        self._budgets.clear()

    async def suffer(self, chance: random.Random, for_s: float) -> str:
        """Be bad in one way for a while; says in which."""
        way = chance.choice(("delay", "throttle", "freeze", "cut", "drop", "reset half-way", "swallow"))
        match way:
            case "delay":
                self.delay_s = chance.uniform(0.05, 0.5)
            case "throttle":
                self.rate_bytes_per_s = chance.uniform(20_000, 200_000)
            case "freeze":
                self.freeze()
            case "cut":
                self.cut()
            case "drop":
                self.drop_next_count = chance.randint(1, 5)
            case "reset half-way":
                self.reset_next(chance.randint(1, 5), after_bytes=chance.randint(1, 40_000))
            case "swallow":
                self.swallow_answers_next_count = chance.randint(1, 3)
        try:
            await asyncio.sleep(for_s)
        finally:
            self.well()
        return way

    # --- connections -------------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(writer)
        self._links.add(link)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(link, reader, writer)
        finally:
            link.reset() if link.is_broken else link.close()
            self._links.discard(link)

    async def _serve(self, link: "Link", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        if self._is_cut:
            link.reset()
            return
        if self.drop_next_count:
            self.drop_next_count -= 1
            return
        swallow = self.swallow_answers_next_count > 0
        self.swallow_answers_next_count -= swallow
        budget = self._budgets.pop() if self._budgets else None
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        link.writers.append(there_writer)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._pump(there_reader, writer, link, swallow=swallow), name="back")
            both.create_task(self._pump(reader, there_writer, link, budget=budget), name="there")

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        link: "Link",
        *,
        budget: int | None = None,
        swallow: bool = False,
    ) -> None:
        """Pass on one direction until its end."""
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                await self._hold_back(len(chunk))
                if swallow:
                    link.reset()
                    return
                if budget is not None and len(chunk) >= budget:
                    writer.write(chunk[:budget])
                    await writer.drain()
                    self.resets_count += 1
                    link.reset()
                    return
                budget = None if budget is None else budget - len(chunk)
                writer.write(chunk)
                await writer.drain()
                self.passed_bytes += len(chunk)
        with contextlib.suppress(OSError):
            if writer.can_write_eof():
                writer.write_eof()

    async def _hold_back(self, size_bytes: int) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.rate_bytes_per_s:
            await asyncio.sleep(size_bytes / self.rate_bytes_per_s)
        await self._flowing.wait()


class Link:
    """One relayed connection: both its ends."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]
        self.is_broken = False

    def reset(self) -> None:
        """Break it the hard way, at both ends."""
        self.is_broken = True
        for writer in self.writers:
            opened: socket.socket | None = writer.get_extra_info("socket")
            if opened is not None:
                with contextlib.suppress(OSError):
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            writer.transport.abort()

    def close(self) -> None:
        """End it as TCP does."""
        for writer in self.writers:
            writer.close()
