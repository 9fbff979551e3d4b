"""How the autoscaler is called: its requests on the bus, and the demand that it watches.

Only the leader serves (main.py): a standby keeps silent until it takes over, and a leader that was frozen is silent when it
wakes up. One without a configuration answers while nobody leads.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from clusterodm.libs.common.health.health import Health
from clusterodm.libs.common.health.settings_in_force import settings_handler
from clusterodm.libs.common.messages.boot_logs import READ_BOOT_LOG, REPORT_BOOT_OUTPUT
from clusterodm.libs.common.messages.demand import DEMAND_CHANGED
from clusterodm.libs.common.messages.health import AUTOSCALER_HEALTH, AUTOSCALER_SETTINGS
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.machines import (
    DESTROY_MACHINE,
    FIND_RESULT,
    GET_AUTOSCALER_STATUS,
    LIST_MACHINES,
    PAUSE_AUTOSCALER,
    PLAN_MACHINES,
    REPORT_BOOT_FAILURE,
    RESUME_AUTOSCALER,
    VIEW_COMMAND,
)
from clusterodm.libs.common.ports import Bus, Handler, Term
from clusterodm.libs.common.settings.fields import Settings
from clusterodm.services.autoscaler.boot_logs.handlers import BootLogs
from clusterodm.services.autoscaler.commands import Commands, NotConfigured
from clusterodm.services.autoscaler.planning.handlers.planner import Planner
from clusterodm.services.autoscaler.results.handlers import ResultFinder

SERVICE: Final = "autoscaler"


@dataclass(frozen=True)
class Answering:
    """Who answers."""

    commands: Commands
    boot_logs: BootLogs
    planner: Planner
    results: ResultFinder


@asynccontextmanager
async def registered(
    bus: Bus,
    answering: Answering,
    health: Health,
    term: Term,
    settings: Settings,
) -> AsyncIterator[None]:
    """Answer and watch while the context is open and the term lasts; the durable consumer is the service's."""
    commands, boot_logs = answering.commands, answering.boot_logs
    handlers: dict[Request[Any, Any], Handler] = {
        GET_AUTOSCALER_STATUS: commands.status,
        LIST_MACHINES: commands.list_machines,
        VIEW_COMMAND: commands.view_command,
        DESTROY_MACHINE: commands.destroy,
        PAUSE_AUTOSCALER: commands.pause,
        PLAN_MACHINES: commands.plan,
        RESUME_AUTOSCALER: commands.resume,
        FIND_RESULT: answering.results.find,
        REPORT_BOOT_FAILURE: commands.boot_failed,
        REPORT_BOOT_OUTPUT: boot_logs.report,
        READ_BOOT_LOG: boot_logs.read,
        AUTOSCALER_HEALTH: health.answer,
        AUTOSCALER_SETTINGS: settings_handler(SERVICE, settings),
    }
    async with (
        bus.watch_snapshot(DEMAND_CHANGED, durable=SERVICE, handler=answering.planner.take_demand),
        bus.serve(SERVICE, handlers, term=term),
    ):
        yield


@asynccontextmanager
async def registered_without(
    bus: Bus, commands: NotConfigured, health: Health, no_leader: Term, settings: Settings
) -> AsyncIterator[None]:
    """Answer that there is no autoscaler, while there is none."""
    handlers: dict[Request[Any, Any], Handler] = {
        AUTOSCALER_HEALTH: health.answer,
        AUTOSCALER_SETTINGS: settings_handler(SERVICE, settings),
        GET_AUTOSCALER_STATUS: commands.status,
        LIST_MACHINES: commands.list_machines,
        **dict.fromkeys(
            (
                FIND_RESULT,
                REPORT_BOOT_FAILURE,
                REPORT_BOOT_OUTPUT,
                READ_BOOT_LOG,
                VIEW_COMMAND,
                PLAN_MACHINES,
                DESTROY_MACHINE,
                PAUSE_AUTOSCALER,
                RESUME_AUTOSCALER,
            ),
            commands.refuse,
        ),
    }
    async with bus.serve(SERVICE, handlers, term=no_leader):
        yield
