"""How the autoscaler is called: its requests on the bus, and the demand that it follows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from libs.common.messages import DEMAND_CHANGED, GET_AUTOSCALER_STATUS, VIEW_COMMAND, Request
from libs.common.ports import Bus, Handler
from services.autoscaler.handlers import Autoscaler

SERVICE: Final = "autoscaler"


@asynccontextmanager
async def served(bus: Bus, autoscaler: Autoscaler) -> AsyncIterator[None]:
    """Answer and follow while the context is open; the durable consumer is the service's, not the process's."""
    handlers: dict[Request[Any, Any], Handler] = {
        GET_AUTOSCALER_STATUS: autoscaler.get_status,
        VIEW_COMMAND: autoscaler.view_command,
    }
    async with (
        bus.follow_snapshot(DEMAND_CHANGED, durable=SERVICE, handler=autoscaler.take_demand),
        bus.serve(SERVICE, handlers),
    ):
        yield
