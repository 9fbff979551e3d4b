"""What can be set for the scheduler."""

from typing import ClassVar, Literal

from clusterodm.libs.common.messages.placement import COMMIT_WITHIN_S
from clusterodm.libs.common.settings.fields import Field
from clusterodm.libs.common.settings.settings import HealthSettings


class SchedulerSettings(HealthSettings):
    """Flags, environment (`CLUSTERODM_...`) and file of the scheduler."""

    group: ClassVar[str] = "Nodes, tasks and the queue (scheduler)"

    probe_every_s: float = Field(5.0, gt=0, description="how often each node is asked how it is, seconds")
    probe_timeout_s: float = Field(5.0, gt=0, description="how long a node may take to say how it is, seconds")
    probes_at_once_count: int = Field(400, gt=0, description="nodes that are asked at the same time")
    node_grace_s: float = Field(
        120.0,
        gt=0,
        description="how long a node may be silent, or say nothing of use about a task, before its tasks count as lost, seconds",
    )
    max_attempts: int = Field(
        3,
        gt=0,
        description="how many attempts a task may lose, or nodes refuse, before it has failed; one that could not be sent, or that may suit another node, does not count",
    )
    killer_nodes_count: int = Field(
        3,
        ge=0,
        description="how many nodes may die soon after a task has come to them before it is sent to no other; 0: any number",
    )
    killer_within_s: float = Field(
        60.0, gt=0, description="how soon a node dies that may have died of a task, seconds after its start"
    )
    retry_first_s: float = Field(
        1.0, gt=0, description="wait before a task's second attempt, seconds; doubles each time"
    )
    retry_longest_s: float = Field(60.0, gt=0, description="longest wait before another attempt, seconds")
    placement: Literal["foresight", "original"] = Field(
        "foresight",
        description="foresight: learn how fast nodes are, prefer faster ones, and let a task wait for one when it ends earlier "
        "there; original: the order of the original alone",
    )
    send_ahead_count: int = Field(
        0, ge=0, description="tasks per node that may be sent before a slot is free, to hide the transfer"
    )
    gpu_options: str = Field(
        "",
        description="options that ask for a graphics card, as name=value or name, separated by commas: tasks with one of them go "
        "only to nodes with the label gpu, unless they set no-gpu; for ODM feature-type=sift",
    )
    tasks_per_owner_count: int = Field(
        0,
        ge=0,
        description="tasks of one token that may be under way at once; what goes beyond it waits; 0: any number",
    )
    aims_per_node_count: int = Field(
        2,
        ge=0,
        description="uploads whose files may go to one node before their commit, each for a slot that is free; 0: none",
    )
    aim_s: float = Field(
        15.0, gt=0, description="how long an upload counts as going ahead when its proxy does not say so again, seconds"
    )
    holder_silence_s: float = Field(
        15.0,
        gt=0,
        description="how long a proxy may neither ask for slots nor send before its waiting tasks are told that it is away, "
        "seconds",
    )
    grant_s: float | None = Field(
        None,
        gt=0,
        description="has no effect any more: slots are reserved only for proxies that ask, and nothing expires",
    )
    forward_silence_s: float = Field(
        60.0,
        gt=COMMIT_WITHIN_S,
        description="how long a proxy that is sending a task may be silent before the node is asked, seconds",
    )
    commit_settle_s: float = Field(
        5.0, ge=0, description="how long a node must deny having a task whose commit it may have got, seconds"
    )
    poll_first_s: float = Field(1.0, gt=0, description="how often a task that has just started is looked at, seconds")
    poll_slow_s: float = Field(10.0, gt=0, description="how often a task that runs for long is looked at, seconds")
    poll_slow_after_s: float = Field(300.0, gt=0, description="when a task counts as running for long, seconds")
    poll_timeout_s: float = Field(10.0, gt=0, description="how long a node may take to tell of a task, seconds")
    polls_at_once_count: int = Field(200, gt=0, description="tasks that are looked at at the same time")
    polls_per_node_count: int = Field(4, gt=0, description="tasks of one node that are looked at at the same time")
    probe_keep_alive_timeout_s: float = Field(
        30.0,
        gt=0,
        description="a connection over which a node was asked is kept for so many seconds; one that the node has closed meanwhile (Node.js: after 5)"
        " costs another one",
    )
    action_timeout_s: float = Field(
        5.0, gt=0, lt=10, description="how long a node may take to cancel, remove or restart a task, seconds"
    )
    console_timeout_s: float = Field(
        10.0, gt=0, description="how long the console of a task that has ended may take to be fetched and kept, seconds"
    )
    clean_every_s: float = Field(
        5.0, gt=0, description="how often nodes are told of attempts that were given up, seconds"
    )
    options_every_s: float = Field(3600.0, gt=0, description="how often the list of task options is fetched, seconds")
    lease_s: int = Field(
        5,
        ge=2,
        le=60,
        description="how long the leader may be silent before a scheduler that stands by takes over, whole seconds",
    )
    task_retention_h: float = Field(
        120.0, gt=0, description="how long the record of an ended task and its console are kept, hours"
    )
    holder_gone_h: float = Field(
        24.0,
        gt=0,
        description="how long a task waits for a proxy that holds its photos and does not answer before it fails, hours",
    )
    tombstones_d: int = Field(
        30,
        ge=1,
        description="how long it is remembered that a task was removed, whole days: longer than any proxy is away that may"
        " still have its photos",
    )
    tell_every_s: float = Field(0.5, gt=0, description="shortest time between two totals of the cluster, seconds")
