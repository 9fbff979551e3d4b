"""What the kernel says of a socket."""

import asyncio

from clusterodm.libs.common.process.sockets import untaken_bytes
from tests.waiting import until

SENT = b"x" * 20_000_000


async def test_what_the_other_side_has_not_taken_is_counted_in_the_kernel_too() -> None:
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accepted.put(writer)

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        reader, client = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer = await accepted.get()
        writer.write(SENT)
        kept_bytes = await until(writer.transport.get_write_buffer_size)
        assert kept_bytes < untaken_bytes(writer.transport) <= len(SENT)

        await reader.readexactly(len(SENT))
        await until(lambda: untaken_bytes(writer.transport) == 0)
        writer.close()
        assert untaken_bytes(writer.transport) == 0
        client.close()
