"""The commands about nodes. The node that is meant is found first: by its number in the list, or by its id."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from clusterodm.libs.common.errors import BusFailed, ClusterError
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.nodes import (
    ADD_NODE,
    BEST_NODE,
    DRAIN_NODE,
    LABEL_NODE,
    LOCK_NODE,
    REMOVE_NODE,
    UNLOCK_NODE,
    UPDATE_NODES,
    AddNode,
    BestNode,
    DrainNode,
    LabelNode,
    LockNode,
    NodeRef,
    NodeView,
    UpdateNodes,
)
from clusterodm.libs.common.model.nodes import reserved_for
from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.common.telemetry.lazy_log import log
from clusterodm.services.admin.access.roles import Role, acting, refusal
from clusterodm.services.admin.commands.core import answers, commands
from clusterodm.services.admin.commands.core.answers import Answer
from clusterodm.services.admin.commands.core.commands import NodeAct
from clusterodm.services.admin.commands.handlers.queries import nodes_of, refusal_of

if TYPE_CHECKING:
    from clusterodm.libs.common.ports import Bus  # a command of a moment needs no more than it asks


Message = TypeVar("Message", bound=msgspec.Struct)

NODE_REQUESTS: Final[dict[NodeAct, tuple[Request[Any, Any], Callable[..., NodeRef]]]] = {
    NodeAct.DEL: (REMOVE_NODE, NodeRef),
    NodeAct.LOCK: (LOCK_NODE, LockNode),
    NodeAct.UNLOCK: (UNLOCK_NODE, NodeRef),
}


async def add_node(bus: "Bus", command: commands.AddNodeCommand) -> Answer:
    """NODE ADD."""
    try:
        node = await bus.request(
            ADD_NODE,
            AddNode(
                hostname=command.hostname,
                port=command.port,
                token=command.token,
                labels=command.labels,
                locked=command.locked,
            ),
        )
    except BusFailed:
        raise
    except ClusterError as error:
        return answers.Declined(error.message)
    log.info("node.add_requested", node=answers.name_of(node), node_id=node.id)
    return answers.Ok()


async def changed(
    bus: "Bus",
    command: commands.OneNodeCommand,
    request: Request[Message, Any],
    message: Callable[[NodeId], Message],
    objection: Callable[[NodeView], str] = lambda _: "",
) -> NodeView | answers.Declined:
    """Find the node that a command is about, and let it be changed: that node, or why not. `objection`: why whoever acts may not change that one."""
    node = answers.meant(await nodes_of(bus), command)
    if node is None:
        return answers.Declined("there is no such node")
    if denied := objection(node):
        return answers.Declined(denied, told=True)
    return await refusal_of(bus.request(request, message(node.id))) or node


async def change_node(bus: "Bus", command: commands.ChangeNodeCommand) -> Answer:
    """NODE DEL, LOCK, UNLOCK."""
    request, kind = NODE_REQUESTS[command.act]
    node = await changed(bus, command, request, lambda node: kind(node=node))
    if isinstance(node, answers.Declined):
        return node
    log.info("node.change_requested", act=command.act.value, node=answers.name_of(node), node_id=node.id)
    return answers.Ok()


async def drain_node(bus: "Bus", command: commands.DrainNodeCommand) -> Answer:
    """NODE DRAIN."""
    node = await changed(bus, command, DRAIN_NODE, lambda node: DrainNode(node=node, deadline_s=command.deadline_s))
    if isinstance(node, answers.Declined):
        return node
    log.info("node.drain_requested", node=answers.name_of(node), node_id=node.id, deadline_s=command.deadline_s)
    return answers.Ok()


async def label_node(bus: "Bus", command: commands.LabelNodeCommand) -> Answer:
    """NODE LABEL. Whose tasks a node takes is for the role admin to say, as all that is about tenants."""

    def objection(node: NodeView) -> str:
        same = reserved_for(node.labels) == reserved_for(command.labels)
        return "" if same else refusal(acting.get(), Role.ADMIN)

    message = lambda node: LabelNode(node=node, labels=command.labels)  # noqa: E731 what is asked
    node = await changed(bus, command, LABEL_NODE, message, objection)
    if isinstance(node, answers.Declined):
        return node
    log.info("node.label_requested", node=answers.name_of(node), node_id=node.id, labels=command.labels)
    return answers.Ok()


async def show_node(bus: "Bus", command: commands.ShowNodeCommand) -> Answer:
    """NODE INFO."""
    node = answers.numbered(await nodes_of(bus), command.number)
    return answers.Invalid("there is no such node") if node is None else answers.NodeDetail(node)


async def list_nodes(bus: "Bus", _command: commands.ListNodesCommand) -> Answer:
    """NODE LIST."""
    return answers.NodeListing(await nodes_of(bus))


async def update_nodes(bus: "Bus", _command: commands.UpdateNodesCommand) -> Answer:
    """NODE UPDATE."""
    await bus.request(UPDATE_NODES, UpdateNodes())
    return answers.Ok()


async def best_node(bus: "Bus", command: commands.BestNodeCommand) -> Answer:
    """NODE BEST."""
    found = await bus.request(BEST_NODE, BestNode(images_count=command.images_count))
    return answers.NodeChoice(found.node)
