"""What a client does to a committed task: `/task/cancel`, `/task/remove`, `/task/restart`. The scheduler decides and does it; we pass on and remember."""

from collections.abc import Awaitable, Callable
from typing import Final

from clusterodm.libs.common.errors import NotFound, Refused, Removed
from clusterodm.libs.common.messages.tasks import CANCEL_TASK, REMOVE_TASK, RESTART_TASK, RestartTask, TaskRef
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.services.proxy.cluster.ports import Cluster, IsSure, always, require_sure
from clusterodm.services.proxy.exchange.forms import read_form
from clusterodm.services.proxy.exchange.nodeodm_api import Caller, no_node_for, no_uuid
from clusterodm.services.proxy.exchange.request import RequestContext, caller_of
from clusterodm.services.proxy.options.check import rewrite_split
from clusterodm.services.proxy.tenants.core import chosen_options

ACTIONS: Final = ("/task/cancel", "/task/remove", "/task/restart")
PREFIX: Final = "/task/"


class ClientActions:
    """Carries out actions."""

    def __init__(self, bus: Bus, cluster: Cluster, *, splitmerge: bool, is_sure: IsSure = always) -> None:
        self._is_sure = is_sure
        self._bus = bus
        self._cluster = cluster
        self._splitmerge = splitmerge

    async def act(self, verb: str, form: dict[str, str], client: Caller) -> None:
        """Do `cancel`, `remove` or `restart`. Raises Refused in the original's words, BusFailed."""
        task = TaskId(form.get("uuid", ""))
        if not task:
            raise Refused(no_uuid(PREFIX + verb))
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "cancel": lambda: self._cancel(TaskRef(task=task, owner=client.owner)),
            "remove": lambda: self._remove(TaskRef(task=task, owner=client.owner)),
            "restart": lambda: self._restart(task, client, form.get("options")),
        }
        try:
            await acts[verb]()
        except NotFound as error:
            if not isinstance(error, Removed):
                await require_sure(self._is_sure, task, client.owner)
            raise NotFound(no_node_for(task)) from None

    async def _cancel(self, task: TaskRef) -> None:
        self._cluster.learn(await self._bus.request(CANCEL_TASK, task))

    async def _remove(self, task: TaskRef) -> None:
        await self._bus.request(REMOVE_TASK, task)
        self._cluster.forget(task.task)

    async def _restart(self, task: TaskId, client: Caller, raw: str | None) -> None:
        options = None
        if raw:
            checked = chosen_options(raw, self._cluster.options(), client.tenant.options)
            options = rewrite_split(checked, enabled=self._splitmerge, address=client.address, token=client.token)
        asked = RestartTask(task=task, owner=client.owner, options=options)
        self._cluster.learn(await self._bus.request(RESTART_TASK, asked))


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
