"""A client of one or many NodeODM nodes, for everything that is rare: probes, polls, actions. Over httpx.

Not for hot paths (relays, uploads and downloads have their own code in the proxy). Every call has a time limit. What
goes wrong is said in two classes: `NodeUnreachable` when no connection came about (the node has not seen the request),
`NodeFailed` for everything else; NodeODM's own `{"error"}` is `NodeRefused`. Messages never hold the token.

API: NodeODM 2.2, docs/index.adoc there. https://github.com/OpenDroneMap/NodeODM
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
import msgspec

from libs.common.errors import NodeFailed, NodeUnreachable
from libs.common.model import Node, NodeInfo, NodeOption, NodeTaskId, OptionValue, StatusCode

Answer = TypeVar("Answer")

CONNECT_TIMEOUT_S: Final = 3.0
UNAUTHORIZED: Final = 401


class NodeRefused(NodeFailed):
    """The node understood and said no; the message is its own text."""


class TaskStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The `status` object of a task."""

    code: StatusCode
    error_message: str = ""


class NodeTask(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `GET /task/<id>/info` says."""

    uuid: str
    name: str | None = ""
    date_created: int = 0
    processing_time: int = -1
    status: TaskStatus
    options: list[OptionValue] = []
    images_count: int = 0
    progress: float = 0.0
    output: list[str] = []


class NodeClient:
    """Talks to nodes. One per process; connections are kept alive per node."""

    def __init__(self, timeout_s: float = 10.0) -> None:
        self._timeout_s = timeout_s
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=1000, keepalive_expiry=30)
        self._http = httpx.AsyncClient(limits=limits, trust_env=False, follow_redirects=False)

    async def __aenter__(self) -> Self:
        """Open the pool."""
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self._http.__aexit__(kind, error, trace)

    async def info(self, node: Node, timeout_s: float | None = None) -> NodeInfo:
        """Ask `GET /info`."""
        return await self._get(node, "/info", NodeInfo, timeout_s)

    async def options(self, node: Node, timeout_s: float | None = None) -> tuple[NodeOption, ...]:
        """Ask `GET /options`."""
        return await self._get(node, "/options", tuple[NodeOption, ...], timeout_s)

    async def task_info(
        self, node: Node, task: NodeTaskId, *, from_line: int | None = None, timeout_s: float | None = None
    ) -> NodeTask:
        """Ask `GET /task/<id>/info`, with the console from a line on. Raises NodeRefused when it is not found."""
        query = {} if from_line is None else {"with_output": str(from_line)}
        return await self._get(node, f"/task/{task}/info", NodeTask, timeout_s, query)

    async def output(
        self, node: Node, task: NodeTaskId, from_line: int = 0, timeout_s: float | None = None
    ) -> list[str]:
        """Ask `GET /task/<id>/output`."""
        return await self._get(node, f"/task/{task}/output", list[str], timeout_s, {"line": str(from_line)})

    async def cancel(self, node: Node, task: NodeTaskId, timeout_s: float | None = None) -> None:
        """Ask `POST /task/cancel`."""
        await self._act(node, "/task/cancel", {"uuid": task}, timeout_s)

    async def remove(self, node: Node, task: NodeTaskId, timeout_s: float | None = None) -> None:
        """Ask `POST /task/remove`."""
        await self._act(node, "/task/remove", {"uuid": task}, timeout_s)

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

    async def _get(
        self,
        node: Node,
        path: str,
        answer: type[Answer],
        timeout_s: float | None,
        query: dict[str, str] | None = None,
    ) -> Answer:
        return decode(await self._send(node, "GET", path, timeout_s, query=query), answer, node)

    async def _act(self, node: Node, path: str, form: dict[str, str], timeout_s: float | None) -> None:
        decode(await self._send(node, "POST", path, timeout_s, form=form), dict[str, Any], node)

    async def _send(  # noqa: PLR0913 one request has this many parts
        self,
        node: Node,
        method: str,
        path: str,
        timeout_s: float | None,
        *,
        query: dict[str, str] | None = None,
        form: dict[str, str] | None = None,
    ) -> httpx.Response:
        limit_s = timeout_s or self._timeout_s
        params = {**(query or {}), **({"token": node.token} if node.token else {})}
        timeout = httpx.Timeout(limit_s, connect=min(limit_s, CONNECT_TIMEOUT_S))
        try:
            return await self._http.request(method, node.url + path, params=params, data=form, timeout=timeout)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise NodeUnreachable(f"{node.name} cannot be reached ({type(error).__name__})") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NodeFailed(f"{node.name} did not answer ({type(error).__name__})") from None


def decode(response: httpx.Response, answer: type[Answer], node: Node) -> Answer:
    """Read an answer into its type. Raises NodeRefused for `{"error"}`, NodeFailed for nonsense."""
    if response.status_code == UNAUTHORIZED:
        raise NodeRefused(f"{node.name} refuses the token")
    if error := error_of(response.content):
        raise NodeRefused(error)
    if response.is_error:
        raise NodeFailed(f"{node.name} answered with status {response.status_code}")
    try:
        return msgspec.json.decode(response.content, type=answer, strict=False)
    except msgspec.DecodeError as error:
        raise NodeFailed(f"{node.name} answered nonsense: {error}") from None


class Said(msgspec.Struct):
    """The error that any answer may be."""

    error: str | None = None


def error_of(content: bytes) -> str:
    """Find NodeODM's `{"error": "text"}`; empty when there is none."""
    if not content.startswith(b"{"):
        return ""
    try:
        return msgspec.json.decode(content, type=Said).error or ""
    except msgspec.DecodeError:
        return ""
