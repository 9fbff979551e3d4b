"""Who may say and hear what on NATS: a user for each service, with the subjects that it needs and no others.

    python -m clusterodm.deploy.nats_users

writes nats-users.conf, the part of nats-server's configuration that `clusterodm up` and Compose share, and kubernetes/nats-users.yaml, which
holds the same; passwords are variables in it.
The table below says who requests, publishes and subscribes what, in the names of libs/common/messages; everything else watches from it: the subjects of
JetStream's interface behind each bucket and stream (docs.nats.io, "NATS API Reference"), and an inbox for each user, so that nobody reads
the answers that another one gets. The user `operator` may do everything: it is for the operator's words and for backups. The user
`integration` is for programs of others: it subscribes what happens to tasks, nodes and machines, and requests what is in its row; it reads no stream.

A bucket is written by its owner alone. Its stream is made, changed and emptied by one service alone, the `KEEPER` (libs/common/bus/layout.py): who
may change a stream lets it copy from any other.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clusterodm.libs.common.bus.layout import BUCKETS, KEEPER, PRIVATE, SNAPSHOTS
from clusterodm.libs.common.messages import (
    boot_logs,
    buckets,
    demand,
    from_url,
    health,
    machines,
    nodes,
    operators,
    overview,
    placement,
    tasks,
    tenants,
    usage,
)
from clusterodm.libs.common.messages.kinds import (
    EVENTS_STREAM,
    EVENTS_SUBJECTS,
    PREFIX,
    BucketName,
    Event,
    ObjectsName,
    Request,
    Snapshot,
)

OPERATOR: Final = "operator"
INTEGRATION: Final = "integration"
API: Final = "$JS.API"
LEASES: Final = "KV_leases"
SERVICE_PINGS: Final = "$SRV.>"
"""`nats micro ls|info|stats`"""


@dataclass(frozen=True, kw_only=True)
class Rights:
    """What a user needs."""

    requests: Sequence[Request[Any, Any]] = ()
    publishes: Sequence[Event[Any]] = ()
    subscribes: Sequence[Event[Any]] = ()
    reads: Sequence[BucketName[Any]] = ()
    writes: Sequence[BucketName[Any]] = ()
    keeps: Sequence[str] = ()
    """Buckets of its own that nobody else knows."""
    objects: Sequence[ObjectsName] = ()
    sets: Sequence[Snapshot[Any]] = ()
    watches: Sequence[Snapshot[Any]] = ()
    reads_events: bool = False
    """It reads and watches the stream of all events."""
    subscribes_to: Sequence[str] = ()
    """Nouns: it subscribes every event of these."""
    leads: bool = False
    """It answers requests under its own name, and one of several does."""
    serves: bool = True
    """It is one of the services, which keep an eye on each other and on the stream of events."""


RIGHTS: Final[dict[str, Rights]] = {
    "proxy": Rights(
        requests=(
            *(tasks.SUBMIT_TASK, tasks.ADOPT_TASK, placement.PLAN_STAGE_IN, placement.PLACE_TASKS),
            *(placement.RENEW_ATTEMPT, placement.REPORT_FORWARDED, placement.REPORT_FORWARD_FAILED),
            *(placement.REPORT_INPUTS_GONE, placement.REPORT_INPUTS_LOST, tasks.GET_TASK, tasks.CONFIRM_TASKS),
            *(tasks.LIST_TASK_IDS, tasks.READ_CONSOLE, tasks.CANCEL_TASK, tasks.REMOVE_TASK, tasks.RESTART_TASK),
            *(nodes.FIND_UI_NODE, machines.FIND_RESULT, machines.REPORT_BOOT_FAILURE, boot_logs.REPORT_BOOT_OUTPUT),
            *(health.SCHEDULER_HEALTH, tenants.CHECK_TOKEN, tenants.SET_TENANTS, from_url.CLAIM_TASK),
        ),
        publishes=(placement.FINISH_REPORTED,),
        subscribes=(placement.PLACEMENT_POSSIBLE,),
        reads=(
            *(buckets.NODES, buckets.TASKS, buckets.ENDED, buckets.OBSERVATIONS, buckets.SUMMARY, buckets.OPTIONS),
            buckets.MACHINES,
        ),
        writes=(buckets.UPLOADS, buckets.PROXIES, buckets.PROGRESS, buckets.SPOOLS, buckets.SECRETS, buckets.CLUSTER),
    ),
    "scheduler": Rights(
        requests=(health.SCHEDULER_HEALTH,),  # of the one that leads
        publishes=(
            *(nodes.NODE_ADDED, nodes.NODE_REMOVED, nodes.NODE_LOCKED, nodes.NODE_UNLOCKED, nodes.NODE_LABELED),
            *(nodes.NODE_DRAINED, nodes.NODE_ONLINE, nodes.NODE_OFFLINE, tasks.TASK_SUBMITTED, tasks.TASK_PLACED),
            *(tasks.TASK_STARTED, tasks.TASK_ATTEMPT_ENDED, tasks.TASK_FINISHED, tasks.TASK_REMOVED),
            *(tasks.TASK_RESTARTED, tasks.TASK_PRIORITIZED, tasks.TASK_MOVED_UP, placement.PLACEMENT_POSSIBLE),
            health.STANDBY_REPORTED,
        ),
        subscribes=(placement.FINISH_REPORTED,),
        reads=(buckets.UPLOADS, buckets.PROXIES, buckets.MACHINES),
        writes=(
            *(buckets.NODES, buckets.TASKS, buckets.ENDED, buckets.OBSERVATIONS, buckets.SUMMARY, buckets.OPTIONS),
            *(buckets.TOMBSTONES, buckets.TENANTS, buckets.USAGE, buckets.MACHINE_SPANS, buckets.CLUSTER),
        ),
        objects=(buckets.CONSOLES,),
        sets=(demand.DEMAND_CHANGED,),
        watches=(demand.SUPPLY_CHANGED,),
        leads=True,
    ),
    "autoscaler": Rights(
        requests=(
            *(nodes.ADD_NODE, nodes.LOCK_NODE, nodes.LOSE_NODE, nodes.LIST_NODES, health.SCHEDULER_HEALTH),
            health.AUTOSCALER_HEALTH,
        ),
        publishes=(
            *(machines.MACHINE_REQUESTED, machines.MACHINE_CREATED, machines.MACHINE_ONLINE),
            *(machines.MACHINE_DRAINED, machines.MACHINE_CONDEMNED, machines.MACHINE_DESTROYED),
            *(machines.MACHINE_FAILED, machines.MACHINE_LOST, machines.MACHINE_LEAKED, health.STANDBY_REPORTED),
        ),
        reads=(buckets.NODES, buckets.TASKS),
        writes=(buckets.MACHINES, buckets.BOOT_LOGS, buckets.CLUSTER),
        keeps=tuple(bucket.name for bucket in PRIVATE),
        sets=(demand.SUPPLY_CHANGED,),
        watches=(demand.DEMAND_CHANGED,),
        leads=True,
    ),
    "admin": Rights(
        requests=(
            *(nodes.ADD_NODE, nodes.REMOVE_NODE, nodes.LOCK_NODE, nodes.UNLOCK_NODE, nodes.DRAIN_NODE),
            *(nodes.LABEL_NODE, nodes.LIST_NODES, nodes.UPDATE_NODES, nodes.BEST_NODE, tasks.GET_TASK),
            *(tasks.LIST_TASKS, tasks.READ_CONSOLE, tasks.CANCEL_TASK, tasks.REMOVE_TASK, tasks.RESTART_TASK),
            *(tasks.SET_TASK_PRIORITY, tasks.MOVE_TASK_UP, tasks.IMPORT_ROUTE, health.SCHEDULER_HEALTH),
            *(tasks.SEARCH_TASKS, tasks.DESCRIBE_TASK, usage.GET_USAGE, overview.GET_OVERVIEW),
            *(health.SCHEDULER_SETTINGS, health.AUTOSCALER_SETTINGS, machines.PLAN_MACHINES, machines.VIEW_COMMAND),
            *(machines.GET_AUTOSCALER_STATUS, machines.LIST_MACHINES, machines.DESTROY_MACHINE),
            *(machines.PAUSE_AUTOSCALER, machines.RESUME_AUTOSCALER, boot_logs.READ_BOOT_LOG),
            health.AUTOSCALER_HEALTH,
        ),
        reads=(buckets.PROXIES, buckets.PROGRESS, buckets.SPOOLS),
        writes=(buckets.SAMPLES,),
        reads_events=True,
        publishes=(operators.OPERATOR_ACTED, operators.LOG_LEVEL_SET),
        subscribes=(health.STANDBY_REPORTED,),
    ),
}
INTEGRATIONS: Final = Rights(
    requests=(
        *(from_url.SUBMIT_FROM_URL, tasks.LIST_TASKS, tasks.SEARCH_TASKS, tasks.DESCRIBE_TASK, tasks.READ_CONSOLE),
        *(tasks.CANCEL_TASK, tasks.REMOVE_TASK, tasks.RESTART_TASK, nodes.LIST_NODES, overview.GET_OVERVIEW),
        *(machines.LIST_MACHINES, machines.GET_AUTOSCALER_STATUS),
    ),
    subscribes_to=("task", "node", "machine"),
    serves=False,
)
"""No answer to one of these holds a secret (decision 124)."""
USERS: Final[dict[str, Rights]] = {**RIGHTS, INTEGRATION: INTEGRATIONS}
"""All but the one that may do everything."""


def published(service: str, rights: Rights) -> Iterator[str]:
    """Name the subjects that a user may write to."""
    yield from (each.subject for each in rights.requests)
    yield from (each.subject for each in rights.publishes)
    if rights.serves:
        yield f"{API}.STREAM.INFO.{EVENTS_STREAM}"
    yield from of_stores(rights)
    if rights.reads_events:
        yield from read(EVENTS_STREAM)
    for snapshot in rights.sets:
        yield from (f"{API}.STREAM.INFO.{snapshot.stream}", snapshot.subject)
    for snapshot in rights.watches:
        yield from (*read(snapshot.stream), *taken(snapshot.stream))
    if rights.leads:
        yield from (health.LEADER_ANSWERS.subject, *held(f"$KV.leases.{service}"))
        yield "_INBOX.>"  # the answers; what an inbox is called cannot be guessed
    if service == KEEPER:
        yield from kept(rights)


def of_stores(rights: Rights) -> Iterator[str]:
    """Name what it takes to use buckets and stores of objects."""
    for bucket in rights.reads:
        yield from read(f"KV_{bucket.name}")
    for name in (*(each.name for each in rights.writes), *rights.keeps):
        yield from (*read(f"KV_{name}"), f"$KV.{name}.>")
    for store in rights.objects:
        yield from (*read(f"OBJ_{store.name}"), f"$O.{store.name}.>")
        yield f"{API}.CONSUMER.CREATE.OBJ_{store.name}"  # nats-py names no consumer of these


def kept(rights: Rights) -> Iterator[str]:
    """Name what it takes to make all streams, to compare them, and to empty one's own."""
    stores = [f"OBJ_{each.name}" for each in rights.objects]
    streams = [f"KV_{each.name}" for each in BUCKETS] + [each.stream for each in SNAPSHOTS]
    for stream in (*streams, *stores, LEASES, EVENTS_STREAM):
        yield from (f"{API}.STREAM.{act}.{stream}" for act in ("INFO", "CREATE", "UPDATE"))
    for stream in (*(f"KV_{each.name}" for each in rights.writes), *stores):
        yield f"{API}.STREAM.PURGE.{stream}"
    yield from (f"{API}.STREAM.DELETE.KV_{each.name}" for each in BUCKETS if not each.durable)
    yield f"{API}.STREAM.NAMES"  # which are missing; and nats-py looks the stream of an object up by its subject


def subscribed(service: str, rights: Rights) -> Iterator[str]:
    """Name the subjects that a user may listen to."""
    yield f"_INBOX.{service}.>"
    yield from (each.subject for each in rights.subscribes)
    yield from (f"{PREFIX}.event.{noun}.*" for noun in rights.subscribes_to)
    if rights.serves:
        yield from (each.subject for each in (health.LEADER_ANSWERS, operators.LOG_LEVEL_SET))
    if rights.reads_events:
        yield EVENTS_SUBJECTS
    if rights.leads:
        yield from (f"{PREFIX}.{service}.*", SERVICE_PINGS)


def read(stream: str) -> tuple[str, ...]:
    """Name what it takes to read and follow a stream."""
    of_consumers = (f"CREATE.{stream}.>", f"DELETE.{stream}.*", f"MSG.NEXT.{stream}.*")
    return (
        f"{API}.STREAM.INFO.{stream}",
        f"{API}.STREAM.MSG.GET.{stream}",
        *(f"{API}.CONSUMER.{each}" for each in of_consumers),
        f"$JS.FC.{stream}.>",
    )


def taken(stream: str) -> tuple[str, ...]:
    """Name what it takes to follow a stream with a durable consumer, which is told what has been read."""
    return (
        *(f"{API}.CONSUMER.{each}" for each in (f"DURABLE.CREATE.{stream}.*", f"INFO.{stream}.*")),
        f"$JS.ACK.{stream}.>",
    )


def held(key: str) -> tuple[str, ...]:
    """Name what it takes to hold a lease under a key, and to read those of others."""
    return (f"{API}.STREAM.INFO.{LEASES}", f"{API}.STREAM.MSG.GET.{LEASES}", f"{API}.DIRECT.GET.{LEASES}.>", key)


def variable(user: str) -> str:
    """Name the variable that holds a user's password."""
    return f"NATS_{user.upper()}_PASSWORD"


def configuration() -> str:
    """Write the part of nats-server's configuration that says who may what."""
    users = "\n".join(entry(user, rights) for user, rights in USERS.items())
    return f"""\
# Written by `python -m clusterodm.deploy.nats_users`, which says why. The passwords are variables of nats-server's environment.
authorization {{
  timeout: 5
  users: [
    {{ user: {OPERATOR}, password: ${variable(OPERATOR)} }}
{users}
  ]
}}
"""


def entry(user: str, rights: Rights) -> str:
    """Write one user."""
    return f"""\
    {{
      user: {user}
      password: ${variable(user)}
      permissions: {{
        publish: [{listed(published(user, rights))}
        ]
        subscribe: [{listed(subscribed(user, rights))}
        ]
      }}
    }}"""


def listed(subjects: Iterable[str]) -> str:
    """Write subjects, each once."""
    return "".join(f"\n          {json.dumps(subject)}" for subject in dict.fromkeys(subjects))


def manifest() -> str:
    """Write the same for Kubernetes, with a Secret for the passwords."""
    users = (OPERATOR, *USERS)
    passwords = "".join(f"  {variable(user)}: {user}\n" for user in users)
    indented = "".join(f"    {line}\n" for line in configuration().splitlines())
    return f"""\
# Written by `python -m clusterodm.deploy.nats_users`. The passwords: replace them before the cluster is used, each beginning with a letter, or
# delete the Secret here and make one of your own:
#   kubectl create secret generic nats-users $(for u in {" ".join(user.upper() for user in users)}; do
#     echo --from-literal=NATS_${{u}}_PASSWORD=p$(openssl rand -hex 24); done)
apiVersion: v1
kind: Secret
metadata:
  name: nats-users
  labels: {{ app.kubernetes.io/part-of: clusterodm }}
stringData:
{passwords}---
apiVersion: v1
kind: ConfigMap
metadata:
  name: nats-users
  labels: {{ app.kubernetes.io/part-of: clusterodm }}
data:
  nats-users.conf: |
{indented}"""


HERE: Final = Path(__file__).parent
FILES: Final[dict[Path, Callable[[], str]]] = {
    HERE / "nats-users.conf": configuration,
    HERE / "kubernetes" / "nats-users.yaml": manifest,
}

if __name__ == "__main__":
    for path, written_by in FILES.items():
        path.write_text(written_by(), encoding="utf-8")
