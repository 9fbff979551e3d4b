"""What a node asks of the world: it downloads a zip, and it calls webhooks. Standard library only.

Blocking functions, to be run in a thread.
"""

import errno
import shlex
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import msgspec

TIMEOUT_S: Final = 30.0
OK: Final = 200


class DownloadFailed(Exception):
    """The zip could not be had; the words are those of Node.js."""


def download(url: str, target: Path) -> None:
    """Fetch a URL into a file; what a server answers is kept whatever its status. Raises: DownloadFailed."""
    try:
        with _open(urllib.request.Request(url)) as answer, target.open("wb") as file:  # noqa: S310 - the client's URL
            shutil.copyfileobj(answer, file, 1024 * 1024)
    except urllib.error.HTTPError as answer:
        target.write_bytes(answer.read())
    except (OSError, ValueError) as error:
        raise DownloadFailed(_node_words(error, url)) from error


def call_webhook(url: str, payload: dict[str, Any]) -> bool:
    """POST the JSON; true when the receiver answered 200."""
    request = urllib.request.Request(  # noqa: S310 - the client's URL
        url,
        data=msgspec.json.encode(payload),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
    )
    try:
        with _open(request) as answer:
            return bool(answer.status == OK)
    except (OSError, ValueError):
        return False


def hand_over(command: str, uuid: str, project: Path) -> None:
    """Call a program with the results of a task, as NodeODM uploads them. Raises: OSError when it fails."""
    ended = subprocess.run([*shlex.split(command), uuid, str(project)], capture_output=True, timeout=60, check=False)  # noqa: S603 - the operator's words
    if ended.returncode:
        raise OSError(f"Cannot upload results: {ended.stderr.decode(errors='replace').strip()[-200:]}")


def _open(request: urllib.request.Request) -> Any:
    # Without proxies: a node and its webhook are neighbours.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(request, timeout=TIMEOUT_S)


def _node_words(error: Exception, url: str) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, OSError) and reason.errno == errno.ECONNREFUSED:
        host = urllib.request.Request(url).host  # noqa: S310 - only taken apart
        return f"connect ECONNREFUSED {host}"
    return str(reason)
