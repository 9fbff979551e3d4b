"""What a record that is the last one in the store is worth, given what its upload owner knows. Pure."""

from typing import Final

from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.services.proxy.cluster.ports import Standing
from clusterodm.services.proxy.spool.core.history import Holding, is_behind

HOLDER_START_S: Final = 7.0
"""How long after a new connection to NATS an upload owner that does not answer is waited for: it may start as we do. Then it is away. Polls are held
for longer (cluster/handlers/confirming.HOLD_S), so none is cut off for this alone."""
SETTLE_S: Final = 60.0
"""How long the proxies of a cluster take to submit again what they hold, and to report what they do not have, at most."""


def standing(record: Task, known: Holding | None, connected_s: float) -> Standing:
    """Say what a record is. `known`: what its upload owner has of it, None while that does not answer. `connected_s`: how old the connection to NATS is."""
    if known is None:
        return Standing.UNSURE if connected_s < HOLDER_START_S else Standing.LAST
    if known.is_replaced:
        return Standing.LAST
    if known.history is not None and is_behind(record, known.history):
        return Standing.OLDER
    if record.state.ended or known.is_held or record.from_url:
        return Standing.LAST
    # it should have it: either it has ended there since, or its files are lost, or it was started again where it had run
    is_to_be_decided = record.inputs_kept and record.state is not TaskState.RUNNING
    return Standing.UNSURE if is_to_be_decided or connected_s < SETTLE_S else Standing.LAST


def of_held(is_held: bool, connected_s: float, *, answers: bool) -> bool:
    """Whether a task that the scheduler does not know may be one that another proxy holds."""
    return is_held if answers else connected_s < HOLDER_START_S
