"""What nodes and machines send.

`/commit` when a task has ended, `/machine/lease` to live on, `/machine/boot-output` while booting, `/machine/boot-log` when that has failed.
"""

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

COMMIT_LIMIT_BYTES: Final = 1024 * 1024
"""A node's webhook brings the whole list of images along; one that is longer still is taken without a look, it is a hint only.

Anybody may send one, and what anybody may send is short.
"""
BOOT_LOG_LIMIT_BYTES: Final = 4096
BOOT_OUTPUT_LIMIT_BYTES: Final = 32 * 1024
TOO_LARGE: Final = 413
UNAUTHORIZED: Final = 401
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
        """Take what a node reports; of a machine only with the machine's own secret."""
        body = await exchange.body(COMMIT_LIMIT_BYTES, self._stall_s)
        if body is None:
            await exchange.drain()
            await exchange.json({"ok": True})
            return
        try:
            said = decode_json(body, FinishReport, limit_bytes=COMMIT_LIMIT_BYTES)
        except Malformed:
            await exchange.json({"error": MALFORMED_COMMIT})
            return
        decision = CallbackDecision.WELCOME
        if said.uuid:
            decision = await self._callbacks.finished(NodeTaskId(said.uuid), exchange.token)
        await answer(exchange, decision, UNAUTHORIZED)

    async def boot_failed(self, exchange: RequestContext) -> None:
        """Take the last lines of a machine whose boot has failed."""
        body = await self._body(exchange, BOOT_LOG_LIMIT_BYTES)
        if body is not None:
            await answer(exchange, await self._callbacks.boot_failed(exchange.token, body), FORBIDDEN)

    async def boot_output(self, exchange: RequestContext) -> None:
        """Take the last lines of a machine that boots; `from_line` says which is the first of them."""
        body = await self._body(exchange, BOOT_OUTPUT_LIMIT_BYTES)
        if body is not None:
            first_line = line_number(exchange.query.get("from_line", [""])[0])
            decision = await self._callbacks.boot_output(exchange.token, body, first_line)
            await answer(exchange, decision, FORBIDDEN)

    async def _body(self, exchange: RequestContext, limit_bytes: int) -> bytes | None:
        """Read a short body; None: it is longer, and that was answered."""
        body = await exchange.body(limit_bytes, self._stall_s)
        if body is None:
            await exchange.drain()
            await exchange.json({"error": f"at most {limit_bytes} bytes"}, TOO_LARGE)
        return body

    async def renew_lease(self, exchange: RequestContext) -> None:
        """Let a machine live on."""
        await answer(exchange, self._callbacks.wanted(exchange.token), FORBIDDEN)


async def answer(exchange: RequestContext, decision: CallbackDecision, nameless_status: int) -> None:
    """Say to a machine that it is heard, or why not; one that is to go must not take it for a mistake."""
    if decision is CallbackDecision.WELCOME:
        await exchange.json({"ok": True})
    else:
        status = {CallbackDecision.NAMELESS: nameless_status, CallbackDecision.OVER: GONE}.get(decision, FORBIDDEN)
        await exchange.json({"error": decision.value}, status)


def open_callbacks(bus: Bus, cluster: Cluster, stall_s: float) -> CallbackRoutes:
    """Put together what nodes and machines may send."""
    return CallbackRoutes(MachineCallbacks(bus, cluster), stall_s)
