"""A client of one or many NodeODM nodes, for everything that is small: probes, polls, actions. Over libs/common/nodeodm/calls.py.

Not for hot paths (relays, uploads and downloads have their own code in the proxy). Every call has a time limit. What
goes wrong is said in two classes: `NodeUnreachable` when no connection came about (the node has not seen the request),
`NodeFailed` for everything else; NodeODM's own `{"error"}` is `NodeRefused`. Messages never hold the token.

API: NodeODM 2.2, docs/index.adoc there. https://github.com/OpenDroneMap/NodeODM
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from clusterodm.libs.common.errors import ClusterError, NodeFailed
from clusterodm.libs.common.hosts import bracketed, is_host
from clusterodm.libs.common.model.nodes import Node, NodeInfo, NodeOption, OptionValue
from clusterodm.libs.common.model.tasks import StatusCode
from clusterodm.libs.common.model.values import NodeTaskId
from clusterodm.libs.common.nodeodm.calls import KEPT_S, REDIRECTS, REMEMBERED_COUNT, CallAnswer, Calls
from clusterodm.libs.common.nodeodm.rounds import ask_all
from clusterodm.libs.common.untrusted import LIMIT_BYTES, Malformed, decode_json

Payload = TypeVar("Payload")

UNAUTHORIZED: Final = 401
BOUNDARY: Final = "clusterodm"
REFUSED_FORM: Final = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="options"\r\n\r\n[\r\n--{BOUNDARY}--\r\n'.encode()
)
"""Options that are no JSON."""
MEANINGS: Final = {
    404: " (no NodeODM is there)",
    413: " (a proxy in front of it limits bodies)",
    **dict.fromkeys((502, 503, 504), " (a proxy in front of it does not reach it)"),
}
BAD_REQUEST: Final = 400
"""From here on a status is an error."""
CONSOLE_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""Of an answer with a console in it; every other one is small."""
LARGEST: Final = 2**53 - 1
"""What JavaScript counts with."""
WORDS_LENGTH: Final = 100
"""Of a version, or the name of an engine."""
ERROR_LIMIT_BYTES: Final = 64 * 1024
"""What is longer is no error."""
SENTENCE_LENGTH: Final = 4096
"""Characters that are kept of what a node says of a failure: it goes into records, logs and polls."""
OPTIONS_COUNT: Final = 1000
OPTIONS_LENGTH: Final = 64 * 1024
"""Characters of all names and values together."""


class NodeRefused(NodeFailed):
    """The node understood and said no; the message is its own text."""


class TaskStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The `status` object of a task."""

    code: StatusCode
    error_message: str = ""


class NodeTask(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `GET /task/<id>/info` says. Figures are as they came: a wrong one is no reason not to hear how a task stands."""

    uuid: str
    name: str | None = ""
    date_created: int = 0
    processing_time: Any = -1
    """ms; see `whole_ms`."""
    status: TaskStatus
    options: list[OptionValue] = []
    images_count: Any = 0
    progress: Any = 0.0
    """See `percent`."""
    output: list[str] = []


class NodeClient:
    """Talks to nodes. One per process; connections are kept alive per node."""

    def __init__(self, timeout_s: float = 10.0, keep_alive_s: float = KEPT_S) -> None:
        self._timeout_s = timeout_s
        self._calls = Calls(keep_alive_s)

    async def __aenter__(self) -> Self:
        """Open it."""
        await self._calls.__aenter__()
        return self

    async def __aexit__(self, *left: object) -> None:
        """Close every connection."""
        await self._calls.__aexit__(*left)

    async def info(self, node: Node, timeout_s: float | None = None) -> NodeInfo:
        """Ask `GET /info`."""
        return info_of(await self._calls.get(node, target(node, "/info"), timeout_s or self._timeout_s), node)

    async def infos(
        self,
        nodes: Iterable[Node],
        heard: Callable[[Node, NodeInfo | ClusterError], None],
        timeout_s: float | None = None,
    ) -> None:
        """Ask `GET /info` of many; see libs/common/nodeodm/rounds.py."""

        def said(node: Node, answer: CallAnswer | ClusterError) -> None:
            heard(node, answer if isinstance(answer, ClusterError) else info_or_failure(answer, node))

        await ask_all(
            self._calls, ((node, target(node, "/info")) for node in nodes), timeout_s or self._timeout_s, said
        )

    async def options(self, node: Node, timeout_s: float | None = None) -> tuple[NodeOption, ...]:
        """Ask `GET /options`."""
        return await self._get(node, "/options", tuple[NodeOption, ...], timeout_s)

    async def task_info(
        self, node: Node, task: NodeTaskId, *, from_line: int | None = None, timeout_s: float | None = None
    ) -> NodeTask:
        """Ask `GET /task/<id>/info`, with the console from a line on. Raises NodeRefused when it is not found."""
        query = {} if from_line is None else {"with_output": str(from_line)}
        limit_bytes = LIMIT_BYTES if from_line is None else CONSOLE_LIMIT_BYTES
        path = f"/task/{quote(task, safe='')}/info"
        return await self._get(node, path, NodeTask, timeout_s, query, limit_bytes)

    async def output(
        self, node: Node, task: NodeTaskId, from_line: int = 0, timeout_s: float | None = None
    ) -> list[str]:
        """Ask `GET /task/<id>/output`."""
        path, query = f"/task/{quote(task, safe='')}/output", {"line": str(from_line)}
        return await self._get(node, path, list[str], timeout_s, query, CONSOLE_LIMIT_BYTES)

    async def cancel(self, node: Node, task: NodeTaskId, timeout_s: float | None = None) -> None:
        """Ask `POST /task/cancel`."""
        await self._act(node, "/task/cancel", {"uuid": task}, timeout_s)

    async def remove(self, node: Node, task: NodeTaskId, timeout_s: float | None = None) -> None:
        """Ask `POST /task/remove`."""
        await self._act(node, "/task/remove", {"uuid": task}, timeout_s)

    async def discard(self, node: Node, task: NodeTaskId, timeout_s: float | None = None) -> None:
        """Ask `POST /task/new/init` with options that no node takes. Raises NodeRefused, and then it is done.

        NodeODM has no call that removes an upload before its commit (`/task/remove` knows committed tasks only), but a refused
        init removes what was uploaded under its id; that of a committed task is refused before anything is touched.
        """
        path, limit_s = target(node, "/task/new/init"), timeout_s or self._timeout_s
        said = await self._calls.post(
            node, path, REFUSED_FORM, limit_s, content_type=f"multipart/form-data; boundary={BOUNDARY}", set_uuid=task
        )
        decode(said, dict[str, Any], node)

    async def restart(
        self,
        node: Node,
        task: NodeTaskId,
        options: Sequence[OptionValue] | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Ask `POST /task/restart`, with other options where given."""
        form = {"uuid": str(task)}
        if options is not None:
            form["options"] = msgspec.json.encode(options).decode()
        await self._act(node, "/task/restart", form, timeout_s)

    async def _get(  # noqa: PLR0913, PLR0917 a question has these parts
        self,
        node: Node,
        path: str,
        answer: type[Payload],
        timeout_s: float | None,
        query: dict[str, str] | None = None,
        limit_bytes: int = LIMIT_BYTES,
    ) -> Payload:
        asked, limit_s = target(node, path, query), timeout_s or self._timeout_s
        return decode(await self._calls.get(node, asked, limit_s, limit_bytes=limit_bytes), answer, node, limit_bytes)

    async def _act(self, node: Node, path: str, form: dict[str, str], timeout_s: float | None) -> None:
        sent = urlencode(form).encode()
        said = await self._calls.post(node, target(node, path), sent, timeout_s or self._timeout_s)
        if decode(said, dict[str, Any], node).get("success") is not True:
            raise NodeFailed(f"{node.name} answered something else than NodeODM does")


def require_possible(said: NodeInfo, node: Node) -> None:
    """Raise NodeFailed for numbers and words that no node can mean: they are stored, added up and shown to everybody."""
    memory, left, cores = said.total_memory or 0, said.available_memory or 0, said.cpu_cores or 0
    counts = (said.max_parallel_tasks, said.task_queue_count, cores, memory, left, abs(said.max_images or 0))
    if min(counts) < 0 or max(counts) > LARGEST:
        raise NodeFailed(f"{node.name} answered nonsense: a number is impossible")
    if max(len(said.version), len(said.engine), len(said.engine_version)) > WORDS_LENGTH:
        raise NodeFailed(f"{node.name} answered nonsense: a version is too long")


def target(node: Node, path: str, query: dict[str, str] | None = None) -> str:
    """Write path and query, with the node's token."""
    if query:
        return f"{path}?{urlencode({**query, **({'token': node.token} if node.token else {})})}"
    return with_token(path, node.token) if node.token else path


@lru_cache(REMEMBERED_COUNT)
def with_token(path: str, token: str) -> str:
    """Write a path and a token: the same for each probe."""
    return f"{path}?{urlencode({'token': token})}"


def decode(said: CallAnswer, answer: type[Payload], node: Node, limit_bytes: int = LIMIT_BYTES) -> Payload:
    """Read an answer into its type. Raises NodeRefused for `{"error"}`, NodeFailed for nonsense."""
    if said.status == UNAUTHORIZED:
        raise NodeRefused(f"{node.name} refuses the token")
    if error := error_of(said.content):
        raise NodeRefused(error)
    if said.status in REDIRECTS:
        raise NodeFailed(
            f"{node.name} redirects to {origin(said.location)}: register it under the address where it really is"
        )
    if said.status >= BAD_REQUEST:
        raise NodeFailed(f"{node.name} {status_in_words(said.status)}")
    try:
        return decode_json(said.content, answer, limit_bytes=limit_bytes, strict=False)
    except Malformed as malformed:
        raise NodeFailed(f"{node.name} {not_json(said.content, malformed)}") from None


def sentence(words: str) -> str:
    """Keep of a node's words what is read by people."""
    return words if len(words) <= SENTENCE_LENGTH else f"{words[: SENTENCE_LENGTH - 1]}…"


def few(options: Sequence[OptionValue]) -> tuple[OptionValue, ...]:
    """Keep the options that a node says a task has; none of so many as no task has."""
    if len(options) > OPTIONS_COUNT:
        return ()
    length = sum(len(option.name) + len(str(option.value)) for option in options)
    return tuple(options) if length <= OPTIONS_LENGTH else ()


def origin(location: str) -> str:
    """Shorten where a redirect leads to what may be shown: it may hold a token."""
    try:
        parts = urlsplit(location)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "another address"
    return f"{parts.scheme}://{bracketed(host)}{port}" if is_host(host) and parts.scheme else "another path"


def status_in_words(status: int) -> str:
    """Say what an error means that NodeODM itself does not answer with."""
    return f"answered with status {status}{MEANINGS.get(status, '')}"


def not_json(content: bytes, error: Malformed) -> str:
    """Say what came instead of JSON."""
    if content.lstrip()[:1] == b"<":
        return "answered with a web page and not as a NodeODM does: is it the right port?"
    return f"answered something that NodeODM does not: {error}"


def info_of(said: CallAnswer, node: Node) -> NodeInfo:
    """Read the answer to `GET /info`. Raises as `decode` does."""
    info = decode(said, NodeInfo, node)
    require_possible(info, node)
    return info


def info_or_failure(said: CallAnswer, node: Node) -> NodeInfo | ClusterError:
    """Read it, or give back why it cannot be read."""
    try:
        return info_of(said, node)
    except NodeFailed as error:
        return error


class NodeError(msgspec.Struct):
    """The error that any answer may be."""

    error: str | None = None


def error_of(content: bytes) -> str:
    """Find NodeODM's `{"error": "text"}`; empty when there is none."""
    if not content.startswith(b"{") or len(content) > ERROR_LIMIT_BYTES:
        return ""
    if (
        b'"error"' not in content
    ):  # a quarter of what reading an answer costs; who spells the word otherwise has said nothing
        return ""
    try:
        return sentence(decode_json(content, NodeError, limit_bytes=ERROR_LIMIT_BYTES).error or "")
    except Malformed:
        return ""
