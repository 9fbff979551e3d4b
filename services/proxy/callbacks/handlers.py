"""What machines report and ask: a finished task, and whether they are still wanted. Judged from memory (core.py)."""

import structlog

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.boot_logs import REPORT_BOOT_OUTPUT, ReportBootOutput
from clusterodm.libs.common.messages.machines import REPORT_BOOT_FAILURE, ReportBootFailure
from clusterodm.libs.common.messages.placement import FINISH_REPORTED, FinishReported
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.values import NodeTaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.services.proxy.callbacks.core import (
    CallbackDecision,
    boot_lines,
    last_words,
    lease,
    reporting,
    webhook,
)
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.metrics import MACHINE_CALLS_REFUSED

at_will = structlog.get_logger(at_will=True)


class MachineCallbacks:
    """Answers machines."""

    def __init__(self, bus: Bus, cluster: Cluster) -> None:
        self._bus = bus
        self._cluster = cluster

    async def finished(self, node_task: NodeTaskId, secret: str) -> CallbackDecision:
        """Take a node's word that a task has ended as a reason to look, and as nothing more. Raises BusFailed."""
        self._require_knowledge()
        attempt = self._cluster.attempt(node_task)
        name = attempt.machine if attempt else None
        machine = self._cluster.machine(name) if name else None
        decision = webhook(secret, machine, on_machine=name is not None)
        if decision is CallbackDecision.WELCOME:
            await self._bus.publish(FINISH_REPORTED, FinishReported(node_task_id=node_task))
        else:
            MACHINE_CALLS_REFUSED.inc("webhook")
            at_will.warning("webhook.refused", node_task=node_task, machine=name, reason=decision.value)
        return decision

    async def boot_failed(self, secret: str, said: bytes) -> CallbackDecision:
        """Pass on what a machine has said last whose boot has failed. Raises BusFailed: it asks again."""
        decision, machine = self._reporting(secret)
        if machine is not None:
            failure = ReportBootFailure(machine=machine.id, last_words=last_words(said))
            await self._bus.request(REPORT_BOOT_FAILURE, failure)
        return decision

    async def boot_output(self, secret: str, said: bytes, first_line: int) -> CallbackDecision:
        """Pass on what a machine says while it boots. Raises BusFailed: it tells again."""
        decision, machine = self._reporting(secret)
        if machine is not None:
            first_line, lines = boot_lines(said, first_line)
            await self._bus.request(
                REPORT_BOOT_OUTPUT, ReportBootOutput(machine=machine.id, first_line=first_line, lines=lines)
            )
        return decision

    def heard(self, secret: str) -> CallbackDecision:
        """Say whether a machine is listened to that wants to tell of its boot. Raises BusFailed."""
        return self._reporting(secret)[0]

    def _reporting(self, secret: str) -> tuple[CallbackDecision, Machine | None]:
        """Say what to answer to a machine that tells of its boot, and which it is; None: it is not to be listened to. Raises BusFailed."""
        self._require_knowledge()
        decision = lease(secret, self._cluster.machines())
        machine = reporting(secret, self._cluster.machines())
        if machine is None:
            MACHINE_CALLS_REFUSED.inc("boot-log")
            at_will.warning("boot_log.refused", reason=decision.value)
        return decision, machine if decision is CallbackDecision.WELCOME else None

    def wanted(self, secret: str) -> CallbackDecision:
        """Say to a machine whether it should go on. Raises BusFailed."""
        self._require_knowledge()
        decision = lease(secret, self._cluster.machines())
        if decision in {CallbackDecision.NAMELESS, CallbackDecision.WRONG}:
            MACHINE_CALLS_REFUSED.inc("lease")
            at_will.warning("lease.refused", reason=decision.value)
        return decision

    def _require_knowledge(self) -> None:
        if not self._cluster.ready:
            raise BusFailed("the machines have not been loaded yet")
