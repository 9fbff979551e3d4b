"""The web page of a node and its parts. Served without a token, as NodeODM's; the page passes `?token=` on itself."""

from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

STATIC: Final = Path(__file__).with_name("static")
PAGES: Final = {
    "/": ("index.html", "text/html"),
    "/index.html": ("index.html", "text/html"),
    "/nodesim.css": ("nodesim.css", "text/css"),
    "/nodesim.js": ("nodesim.js", "text/javascript"),
    "/favicon.ico": ("favicon.ico", "image/x-icon"),
}


def routes() -> list[Route]:
    """One route per file."""
    return [Route(path, page) for path in PAGES]


async def page(request: Request) -> Response:
    """Send the file that belongs to the path."""
    name, media_type = PAGES[request.url.path]
    return FileResponse(STATIC / name, media_type=media_type, headers={"cache-control": "public, max-age=0"})
