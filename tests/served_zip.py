"""An archive of images behind an address, for tasks that name a `zipurl`."""

import asyncio
import zipfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def served_zip(folder: Path, images: Sequence[Path]) -> AsyncIterator[str]:
    """Put the images into an archive in this folder and serve it; its address."""
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for path in images:
            archive.write(path, path.name)
    content = (folder / "images.zip").read_bytes()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(content))
        if not head.startswith(b"HEAD"):
            writer.write(content)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/images.zip"
