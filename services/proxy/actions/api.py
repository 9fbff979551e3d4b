"""`/task/cancel`, `/task/remove`, `/task/restart`."""

from typing import Final

from clusterodm.libs.common.ports import Bus
from clusterodm.services.proxy.actions.handlers import ClientActions
from clusterodm.services.proxy.cluster.ports import Cluster, IsSure
from clusterodm.services.proxy.exchange.forms import read_form
from clusterodm.services.proxy.exchange.request import RequestContext, caller_of

ACTIONS: Final = ("/task/cancel", "/task/remove", "/task/restart")


class ActionRoutes:
    """Answers actions."""

    def __init__(self, actions: ClientActions, *, public_address: str, stall_s: float) -> None:
        self._actions = actions
        self._public_address = public_address
        self._stall_s = stall_s

    async def act(self, exchange: RequestContext) -> None:
        """Cancel, remove or restart."""
        form = await read_form(exchange, self._stall_s)
        client = caller_of(exchange, self._public_address)
        verb = exchange.path.rpartition("/")[2]
        await self._actions.act(verb, form, client)
        await exchange.json({"success": True})


def open_actions(  # noqa: PLR0913 what it works with
    bus: Bus, cluster: Cluster, is_sure: IsSure, *, splitmerge: bool, public_address: str, stall_s: float
) -> ActionRoutes:
    """Put together what clients do to tasks."""
    actions = ClientActions(bus, cluster, splitmerge=splitmerge, is_sure=is_sure)
    return ActionRoutes(actions, public_address=public_address, stall_s=stall_s)
