"""What an operator should look at first. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote

from clusterodm.libs.common.amounts import amount
from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.machines import AutoscalerStatus
from clusterodm.libs.common.messages.overview import ClusterOverview, SpoolReport
from clusterodm.services.admin.web.core.cluster_views import AttentionView
from clusterodm.services.admin.web.core.node_views import NodeRow
from clusterodm.services.admin.web.core.task_views import TasksPage
from clusterodm.services.admin.web.core.views import ListPage

LONG_WAIT_S: Final = 3600.0
LONG_RUN_S: Final = 48 * 3600.0
FULL_SHARE: Final = 0.9
LATELY_MS: Final = 24 * 3600 * 1000
NAMED_COUNT: Final = 3
ERROR: Final = "error"
WARNING: Final = "warning"


def attention_of(  # noqa: PLR0913, PLR0917 everything that may need it
    now_ms: WallMs,
    overview: ClusterOverview | None,
    status: AutoscalerStatus | None,
    spools: Sequence[SpoolReport],
    failed: TasksPage | None,
    offline: ListPage[NodeRow] | None,
) -> tuple[AttentionView, ...]:
    """List it, errors first."""
    found = [
        *of_cluster(overview),
        *of_tasks(now_ms, failed),
        *of_nodes(offline),
        *of_autoscaler(status),
        *of_spools(spools),
    ]
    return tuple(sorted(found, key=lambda each: each.severity != ERROR))


def of_cluster(overview: ClusterOverview | None) -> Iterator[AttentionView]:
    """Look at the queue."""
    if overview is None:
        yield AttentionView(severity=ERROR, text="The scheduler does not answer.", link="/services")
        return
    if not overview.nodes_online_count:
        yield AttentionView(severity=ERROR, text="No node is online.", link="/nodes")
    if overview.oldest_wait_s > LONG_WAIT_S:
        hours = overview.oldest_wait_s / 3600
        yield AttentionView(severity=WARNING, text=f"A task has waited for {hours:.1f} h.", link="/queue")
    yield from of_stuck(overview)


def of_stuck(overview: ClusterOverview) -> Iterator[AttentionView]:
    """Look at tasks that do not get on."""
    if count := overview.upload_owner_away_count:
        text = f"{amount(count, 'task')} wait{'s' if count == 1 else ''} for a proxy that does not answer: it has the images."
        yield AttentionView(severity=ERROR, text=text, link="/services")
    if count := overview.on_offline_nodes_count:
        where = "is on a node that does" if count == 1 else "are on nodes that do"
        text = f"{amount(count, 'task')} {where} not answer."
        yield AttentionView(severity=WARNING, text=text, link="/nodes?state=offline")
    if overview.longest_run_task and overview.longest_run_s > LONG_RUN_S:
        text = f"A task has been running for {overview.longest_run_s / 3600:.0f} h."
        link = f"/tasks/{quote(overview.longest_run_task, safe='')}"
        yield AttentionView(severity=WARNING, text=text, link=link)


def of_tasks(now_ms: WallMs, failed: TasksPage | None) -> Iterator[AttentionView]:
    """Name what has failed within a day."""
    for task in failed.items if failed else ():
        if now_ms - (task.ended_at_ms or 0) < LATELY_MS:
            text = f"{task.called} failed: {task.reason or 'no reason is known'}"
            yield AttentionView(severity=ERROR, text=text, link=f"/tasks/{quote(task.id, safe='')}")


def of_nodes(offline: ListPage[NodeRow] | None) -> Iterator[AttentionView]:
    """Name nodes that are offline; where they are many, how many."""
    if offline is None:
        return
    for node in offline.items[:NAMED_COUNT]:
        text = f"{node.name} is offline{f': {node.trouble}' if node.trouble else ''}"
        yield AttentionView(severity=WARNING, text=text, link=f"/nodes/{quote(node.id, safe='')}")
    if offline.total_count > NAMED_COUNT:
        text = f"{offline.total_count - NAMED_COUNT} more nodes are offline."
        yield AttentionView(severity=WARNING, text=text, link="/nodes?state=offline")


def of_autoscaler(status: AutoscalerStatus | None) -> Iterator[AttentionView]:
    """Say what is wrong with machines."""
    if status is None or not status.enabled:
        return
    if status.trouble:
        yield AttentionView(severity=ERROR, text=f"The provider fails: {status.trouble}", link="/machines")
    if status.file_mistakes:
        text = f"The provider does not accept the file: {status.file_mistakes[0]}"
        yield AttentionView(severity=WARNING, text=text, link="/machines")
    yield from of_budget(status)
    if status.paused:
        yield AttentionView(severity=WARNING, text="The autoscaler is paused.", link="/machines")
    waits = [each.reason for each in status.waits]
    if waits:
        text = f"{len(waits)} waiting tasks get no machine: {waits[0]}"
        yield AttentionView(severity=WARNING, text=text, link="/queue")


def of_budget(status: AutoscalerStatus) -> Iterator[AttentionView]:
    """Say that the budget is nearly used up."""
    for what, cost, budget in (
        ("cost per hour", status.cost_per_hour, status.max_hourly_cost),
        ("cost of the last day", status.cost_last_day, status.max_daily_cost),
    ):
        if budget is not None and cost >= budget * FULL_SHARE:
            severity = ERROR if cost > budget else WARNING
            yield AttentionView(severity=severity, text=f"The {what} is {cost:.2f} of {budget:.2f}.", link="/machines")


def of_spools(spools: Sequence[SpoolReport]) -> Iterator[AttentionView]:
    """Say whose disk is nearly full."""
    for spool in spools:
        if spool.total_bytes and spool.free_bytes < (1 - FULL_SHARE) * spool.total_bytes:
            text = f"The disk of {spool.instance} on {spool.host} has {spool.free_bytes / 1e9:.1f} GB left."
            yield AttentionView(severity=ERROR, text=text, link="/services")
