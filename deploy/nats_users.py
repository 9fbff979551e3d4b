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
from clusterodm.libs.common.messages.auth import CHECK_TOKEN
from clusterodm.libs.common.messages.boot_logs import READ_BOOT_LOG, REPORT_BOOT_OUTPUT
from clusterodm.libs.common.messages.buckets import (
    BOOT_LOGS,
    CLUSTER,
    CONSOLES,
    ENDED,
    MACHINE_SPANS,
    MACHINES,
    NODES,
    OBSERVATIONS,
    OPTIONS,
    PROGRESS,
    PROXIES,
    SAMPLES,
    SECRETS,
    SPOOLS,
    SUMMARY,
    TASKS,
    TENANTS,
    TOMBSTONES,
    UPLOADS,
    USAGE,
)
from clusterodm.libs.common.messages.demand import DEMAND_CHANGED, SUPPLY_CHANGED
from clusterodm.libs.common.messages.from_url import CLAIM_TASK, SUBMIT_FROM_URL
from clusterodm.libs.common.messages.health import (
    AUTOSCALER_HEALTH,
    AUTOSCALER_SETTINGS,
    LEADER_ANSWERS,
    SCHEDULER_HEALTH,
    SCHEDULER_SETTINGS,
    STANDBY_REPORTED,
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
from clusterodm.libs.common.messages.logs import LOG_LEVEL_SET
from clusterodm.libs.common.messages.machines import (
    DESTROY_MACHINE,
    FIND_RESULT,
    GET_AUTOSCALER_STATUS,
    LIST_MACHINES,
    MACHINE_CONDEMNED,
    MACHINE_CREATED,
    MACHINE_DESTROYED,
    MACHINE_DRAINED,
    MACHINE_FAILED,
    MACHINE_LEAKED,
    MACHINE_LOST,
    MACHINE_ONLINE,
    MACHINE_REQUESTED,
    PAUSE_AUTOSCALER,
    PLAN_MACHINES,
    REPORT_BOOT_FAILURE,
    RESUME_AUTOSCALER,
    VIEW_COMMAND,
)
from clusterodm.libs.common.messages.nodes import (
    ADD_NODE,
    BEST_NODE,
    DRAIN_NODE,
    FIND_UI_NODE,
    LABEL_NODE,
    LIST_NODES,
    LOCK_NODE,
    LOSE_NODE,
    NODE_ADDED,
    NODE_DRAINED,
    NODE_LABELED,
    NODE_LOCKED,
    NODE_OFFLINE,
    NODE_ONLINE,
    NODE_REMOVED,
    NODE_UNLOCKED,
    REMOVE_NODE,
    UNLOCK_NODE,
    UPDATE_NODES,
)
from clusterodm.libs.common.messages.operators import OPERATOR_ACTED
from clusterodm.libs.common.messages.overview import GET_OVERVIEW
from clusterodm.libs.common.messages.placement import (
    FINISH_REPORTED,
    PLACE_TASKS,
    PLACEMENT_POSSIBLE,
    PLAN_STAGE_IN,
    RENEW_ATTEMPT,
    REPORT_FORWARD_FAILED,
    REPORT_FORWARDED,
    REPORT_INPUTS_GONE,
    REPORT_INPUTS_LOST,
)
from clusterodm.libs.common.messages.tasks import (
    ADOPT_TASK,
    CANCEL_TASK,
    CONFIRM_TASKS,
    DESCRIBE_TASK,
    GET_TASK,
    IMPORT_ROUTE,
    LIST_TASK_IDS,
    LIST_TASKS,
    MOVE_TASK_UP,
    READ_CONSOLE,
    REMOVE_TASK,
    RESTART_TASK,
    SEARCH_TASKS,
    SET_TASK_PRIORITY,
    SUBMIT_TASK,
    TASK_ATTEMPT_ENDED,
    TASK_FINISHED,
    TASK_MOVED_UP,
    TASK_PLACED,
    TASK_PRIORITIZED,
    TASK_REMOVED,
    TASK_RESTARTED,
    TASK_STARTED,
    TASK_SUBMITTED,
)
from clusterodm.libs.common.messages.tenants import SET_TENANTS
from clusterodm.libs.common.messages.usage import GET_USAGE

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
            *(SUBMIT_TASK, ADOPT_TASK, PLAN_STAGE_IN, PLACE_TASKS, RENEW_ATTEMPT, REPORT_FORWARDED),
            *(REPORT_FORWARD_FAILED, REPORT_INPUTS_GONE, REPORT_INPUTS_LOST, GET_TASK, CONFIRM_TASKS),
            *(LIST_TASK_IDS, READ_CONSOLE, CANCEL_TASK, REMOVE_TASK, RESTART_TASK, FIND_UI_NODE),
            *(FIND_RESULT, REPORT_BOOT_FAILURE, REPORT_BOOT_OUTPUT),
            *(SCHEDULER_HEALTH, CHECK_TOKEN, SET_TENANTS, CLAIM_TASK),
        ),
        publishes=(FINISH_REPORTED,),
        subscribes=(PLACEMENT_POSSIBLE,),
        reads=(NODES, TASKS, ENDED, OBSERVATIONS, SUMMARY, OPTIONS, MACHINES),
        writes=(UPLOADS, PROXIES, PROGRESS, SPOOLS, SECRETS, CLUSTER),
    ),
    "scheduler": Rights(
        requests=(SCHEDULER_HEALTH,),  # of the one that leads
        publishes=(
            *(
                NODE_ADDED,
                NODE_REMOVED,
                NODE_LOCKED,
                NODE_UNLOCKED,
                NODE_LABELED,
                NODE_DRAINED,
                NODE_ONLINE,
                NODE_OFFLINE,
            ),
            *(TASK_SUBMITTED, TASK_PLACED, TASK_STARTED, TASK_ATTEMPT_ENDED, TASK_FINISHED, TASK_REMOVED),
            *(TASK_RESTARTED, TASK_PRIORITIZED, TASK_MOVED_UP, PLACEMENT_POSSIBLE, STANDBY_REPORTED),
        ),
        subscribes=(FINISH_REPORTED,),
        reads=(UPLOADS, PROXIES, MACHINES),
        writes=(
            *(NODES, TASKS, ENDED, OBSERVATIONS, SUMMARY, OPTIONS, TOMBSTONES, TENANTS, USAGE, MACHINE_SPANS),
            CLUSTER,
        ),
        objects=(CONSOLES,),
        sets=(DEMAND_CHANGED,),
        watches=(SUPPLY_CHANGED,),
        leads=True,
    ),
    "autoscaler": Rights(
        requests=(ADD_NODE, LOCK_NODE, LOSE_NODE, LIST_NODES, SCHEDULER_HEALTH, AUTOSCALER_HEALTH),
        publishes=(
            *(MACHINE_REQUESTED, MACHINE_CREATED, MACHINE_ONLINE, MACHINE_DRAINED, MACHINE_CONDEMNED),
            *(MACHINE_DESTROYED, MACHINE_FAILED, MACHINE_LOST, MACHINE_LEAKED, STANDBY_REPORTED),
        ),
        reads=(NODES, TASKS),
        writes=(MACHINES, BOOT_LOGS, CLUSTER),
        keeps=tuple(bucket.name for bucket in PRIVATE),
        sets=(SUPPLY_CHANGED,),
        watches=(DEMAND_CHANGED,),
        leads=True,
    ),
    "admin": Rights(
        requests=(
            *(
                ADD_NODE,
                REMOVE_NODE,
                LOCK_NODE,
                UNLOCK_NODE,
                DRAIN_NODE,
                LABEL_NODE,
                LIST_NODES,
                UPDATE_NODES,
                BEST_NODE,
            ),
            *(
                GET_TASK,
                LIST_TASKS,
                READ_CONSOLE,
                CANCEL_TASK,
                REMOVE_TASK,
                RESTART_TASK,
                SET_TASK_PRIORITY,
                MOVE_TASK_UP,
                IMPORT_ROUTE,
                SCHEDULER_HEALTH,
            ),
            *(SEARCH_TASKS, DESCRIBE_TASK, GET_USAGE, GET_OVERVIEW, SCHEDULER_SETTINGS, AUTOSCALER_SETTINGS),
            *(PLAN_MACHINES, VIEW_COMMAND, GET_AUTOSCALER_STATUS, LIST_MACHINES, DESTROY_MACHINE, PAUSE_AUTOSCALER),
            *(RESUME_AUTOSCALER, READ_BOOT_LOG, AUTOSCALER_HEALTH),
        ),
        reads=(PROXIES, PROGRESS, SPOOLS),
        writes=(SAMPLES,),
        reads_events=True,
        publishes=(OPERATOR_ACTED, LOG_LEVEL_SET),
        subscribes=(STANDBY_REPORTED,),
    ),
}
INTEGRATIONS: Final = Rights(
    requests=(
        *(
            SUBMIT_FROM_URL,
            LIST_TASKS,
            SEARCH_TASKS,
            DESCRIBE_TASK,
            READ_CONSOLE,
            CANCEL_TASK,
            REMOVE_TASK,
            RESTART_TASK,
        ),
        *(LIST_NODES, GET_OVERVIEW, LIST_MACHINES, GET_AUTOSCALER_STATUS),
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
        yield from (LEADER_ANSWERS.subject, *held(f"$KV.leases.{service}"))
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
        yield from (each.subject for each in (LEADER_ANSWERS, LOG_LEVEL_SET))
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
