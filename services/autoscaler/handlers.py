"""What the autoscaler does, in order: keep the last demand, answer what is seen and what would be done."""

import structlog

from libs.common.errors import Refused
from libs.common.messages import AutoscalerStatus, CommandView, DemandChanged, GetAutoscalerStatus, ViewCommand
from services.autoscaler.core.configuration import Configuration
from services.autoscaler.core.demand import differs, supersedes

log = structlog.get_logger()

NOT_CONFIGURED = "no autoscaler is configured (start with --asr FILE)"


class Autoscaler:
    """The last demand that was seen, and the configuration; it starts no machines."""

    def __init__(self, configuration: Configuration | None) -> None:
        self._configuration = configuration
        self._demand: DemandChanged | None = None

    def __repr__(self) -> str:
        """Show the whole state in a line."""
        waiting = self._demand.waiting_count if self._demand else "?"
        return f"Autoscaler({self._configuration.provider if self._configuration else 'off'} waiting={waiting})"

    async def take_demand(self, demand: DemandChanged) -> None:
        """Keep a snapshot of demand, and log it when it is news."""
        if not supersedes(demand, self._demand):
            return
        if differs(demand, self._demand):
            log.info(
                "demand changed",
                waiting=demand.waiting_count,
                free_slots=demand.free_slots_count,
                running=demand.running_count,
            )
        self._demand = demand

    async def get_status(self, _asked: GetAutoscalerStatus) -> AutoscalerStatus:
        """Say what the autoscaler sees, and why it does nothing about it."""
        return AutoscalerStatus(
            enabled=False,
            reason=self._idle_because(),
            demand_count=self._demand.waiting_count if self._demand else 0,
            demand_at_ms=self._demand.at_ms if self._demand else None,
        )

    async def view_command(self, _asked: ViewCommand) -> CommandView:
        """Refuse: without machines there is no command that would start one."""
        raise Refused(self._idle_because())

    def _idle_because(self) -> str:
        if self._configuration is None:
            return NOT_CONFIGURED
        return f"this version starts no machines ({self._configuration.provider} is configured)"
