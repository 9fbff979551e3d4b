"""What a machine says while it boots: sent to where its user data says, as the script in it would send it; of a container its log."""

import contextlib
import threading
import time
import urllib.request
from collections.abc import Mapping
from typing import Final

LINES: Final = (
    "Cloud-init v. 25.1 running 'modules:final'",
    "Docker is there already",
    "latest: Pulling from opendronemap/nodeodm",
    "Status: Downloaded newer image for opendronemap/nodeodm:latest",
    "ended with code 0",
)
CONTAINER_LINES: Final = (
    "info: Authentication using token",
    "info: Initialized 0 tasks",
    "info: Server has started on port 3000",
)
"""What a container of NodeODM writes until it answers."""
OUTPUT_URL: Final = "/output-url"
ANSWER_S: Final = 5.0


def container_lines(*, running: bool) -> tuple[str, ...]:
    """Give what a container has written: the last line when its node answers."""
    return CONTAINER_LINES if running else CONTAINER_LINES[:-1]


def tell(files: Mapping[str, str], boot_s: float) -> None:
    """Say something more five times while it boots, if there is anybody to be told. `files`: path to content."""
    url = next((content for path, content in files.items() if path.endswith(OUTPUT_URL)), "")
    if url:
        threading.Thread(target=told, args=(url, boot_s), daemon=True).start()


def told(url: str, boot_s: float) -> None:
    """Send all lines so far, again and again."""
    for count in range(1, len(LINES) + 1):
        text = "".join(f"{line}\n" for line in LINES[:count])
        request = urllib.request.Request(f"{url}&from_line=0", text.encode(), method="POST")  # noqa: S310 - as the user data says
        with contextlib.suppress(OSError):  # the next time it says all of it again
            urllib.request.urlopen(request, timeout=ANSWER_S).close()  # noqa: S310
        time.sleep(boot_s / len(LINES))
