"""What nodes and machines send.

Anybody may call these addresses, so little of a body is kept: of a webhook the beginning, and of a machine's words nothing before its secret is judged.

`/commit` when a task has ended, `/machine/lease` to live on, `/machine/boot-output` while booting, `/machine/boot-log` when that has failed.
"""

import re
from typing import Final

import msgspec

from clusterodm.libs.common.model.values import NodeTaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.untrusted import Malformed, decode_json
from clusterodm.services.proxy.callbacks.core import CallbackDecision, line_number
from clusterodm.services.proxy.callbacks.handlers import MachineCallbacks
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.exchange.nodeodm_api import MALFORMED_COMMIT
from clusterodm.services.proxy.exchange.request import RequestContext

COMMIT_BEGINNING_BYTES: Final = 16 * 1024
"""A node's webhook brings the whole list of images along, behind the id: of one that is longer only the beginning is looked at."""
LONG_COMMIT: Final = re.compile(rb'\s*\{\s*"uuid"\s*:\s*"([\w-]{1,100})"')
BOOT_LOG_LIMIT_BYTES: Final = 4096
BOOT_OUTPUT_LIMIT_BYTES: Final = 32 * 1024
TOO_LARGE: Final = 413
FORBIDDEN: Final = 403
GONE: Final = 410


class FinishReport(msgspec.Struct):
    """What a node's `POST /commit` says, as far as it is looked at."""

    uuid: str | None = None


class CallbackRoutes:
    """Answers nodes and machines."""

    def __init__(self, callbacks: MachineCallbacks, stall_s: float) -> None:
        self._callbacks = callbacks
        self._stall_s = stall_s

    async def task_finished(self, exchange: RequestContext) -> None:
        """Take what a node reports; of a machine only with the machine's own secret, and the answer does not tell of what is on machines."""
        try:
            said = finish_report(await self._beginning(exchange))
        except Malformed:
            await exchange.json({"error": MALFORMED_COMMIT})
            return
        if said.uuid:
            await self._callbacks.finished(NodeTaskId(said.uuid), exchange.token)
        await exchange.json({"ok": True})

    async def _beginning(self, exchange: RequestContext) -> bytes:
        """Read a body; of a long one keep the first COMMIT_BEGINNING_BYTES + 1."""
        read = bytearray()
        async for piece in exchange.chunks(self._stall_s):
            read += piece[: COMMIT_BEGINNING_BYTES + 1 - len(read)]
            exchange.keep(len(read))
            if len(read) > COMMIT_BEGINNING_BYTES:
                break
        if len(read) > COMMIT_BEGINNING_BYTES:
            await exchange.drain()
        return bytes(read)

    async def boot_failed(self, exchange: RequestContext) -> None:
        """Take the last lines of a machine whose boot has failed."""
        body = await self._body(exchange, BOOT_LOG_LIMIT_BYTES)
        if body is not None:
            await answer(exchange, await self._callbacks.boot_failed(exchange.token, body))

    async def boot_output(self, exchange: RequestContext) -> None:
        """Take the last lines of a machine that boots; `from_line` says which is the first of them."""
        body = await self._body(exchange, BOOT_OUTPUT_LIMIT_BYTES)
        if body is not None:
            first_line = line_number(exchange.query.get("from_line", [""])[0])
            decision = await self._callbacks.boot_output(exchange.token, body, first_line)
            await answer(exchange, decision)

    async def _body(self, exchange: RequestContext, limit_bytes: int) -> bytes | None:
        """Read a short body of a machine that is wanted; None: it is longer, or of somebody else, and that was answered."""
        decision = self._callbacks.heard(exchange.token)
        if decision is not CallbackDecision.WELCOME:
            await exchange.drain()
            await answer(exchange, decision)
            return None
        body = await exchange.body(limit_bytes, self._stall_s)
        if body is None:
            await exchange.drain()
            await exchange.json({"error": f"at most {limit_bytes} bytes"}, TOO_LARGE)
        return body

    async def renew_lease(self, exchange: RequestContext) -> None:
        """Let a machine live on."""
        await answer(exchange, self._callbacks.wanted(exchange.token))


def finish_report(body: bytes) -> FinishReport:
    """Read a webhook's body, or the beginning of a long one. Raises Malformed."""
    if len(body) <= COMMIT_BEGINNING_BYTES:
        return decode_json(body, FinishReport)
    found = LONG_COMMIT.match(body)
    if found is None:
        raise Malformed("the id is not at its beginning")
    return FinishReport(found[1].decode())


async def answer(exchange: RequestContext, decision: CallbackDecision) -> None:
    """Say to a machine that it is heard, or why not; one that is to go must not take it for a mistake."""
    if decision is CallbackDecision.WELCOME:
        await exchange.json({"ok": True})
    else:
        await exchange.json({"error": decision.value}, GONE if decision is CallbackDecision.OVER else FORBIDDEN)


def open_callbacks(bus: Bus, cluster: Cluster, stall_s: float) -> CallbackRoutes:
    """Put together what nodes and machines may send."""
    return CallbackRoutes(MachineCallbacks(bus, cluster), stall_s)
