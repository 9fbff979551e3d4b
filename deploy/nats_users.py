"""Who may say and hear what on NATS: a user for each service, with the subjects that it needs and no others.

    python -m deploy.nats_users

writes nats-users.conf, the part of nats-server's configuration that `clusterodm up` and Compose share, and kubernetes/nats-users.yaml, which
holds the same; passwords are variables in it.
The table below says who asks, tells and hears what, in the names of libs/common/messages.py; everything else follows from it: the subjects of
JetStream's interface behind each bucket and stream (docs.nats.io, "NATS API Reference"), and an inbox for each user, so that nobody reads
the answers that another one gets. The user `operator` may do everything: it is for the operator's words, for backups and integrations.

A bucket or stream is changed and emptied by its owner alone; whoever reads it may create it where it is not there yet.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from libs.common import messages as m

OPERATOR: Final = "operator"
API: Final = "$JS.API"
LEASES: Final = "KV_leases"
SERVICE_PINGS: Final = "$SRV.>"
"""`nats micro ls|info|stats`"""


@dataclass(frozen=True, kw_only=True)
class Rights:
    """What a service needs."""

    asks: Sequence[m.Request[Any, Any]] = ()
    tells: Sequence[m.Event[Any]] = ()
    hears: Sequence[m.Event[Any]] = ()
    reads: Sequence[m.BucketName[Any]] = ()
    writes: Sequence[m.BucketName[Any]] = ()
    keeps: Sequence[str] = ()
    """Buckets of its own that nobody else knows."""
    objects: Sequence[m.ObjectsName] = ()
    sets: Sequence[m.Snapshot[Any]] = ()
    follows: Sequence[m.Snapshot[Any]] = ()
    leads: bool = False
    """It answers requests under its own name, and one of several does."""


RIGHTS: Final[dict[str, Rights]] = {
    "proxy": Rights(
        asks=(
            *(m.SUBMIT_TASK, m.ADOPT_TASK, m.AIM_UPLOAD, m.PLACE_TASKS, m.RENEW_ATTEMPT, m.REPORT_FORWARDED),
            *(m.REPORT_FORWARD_FAILED, m.REPORT_INPUTS_GONE, m.REPORT_INPUTS_LOST, m.GET_TASK, m.CONFIRM_TASKS),
            *(m.LIST_TASK_IDS, m.READ_CONSOLE, m.CANCEL_TASK, m.REMOVE_TASK, m.RESTART_TASK, m.FIND_UI_NODE),
            *(m.FIND_RESULT, m.SCHEDULER_HEALTH),
        ),
        tells=(m.FINISH_REPORTED,),
        hears=(m.PLACEMENT_POSSIBLE,),
        reads=(m.NODES, m.TASKS, m.ENDED, m.OBSERVATIONS, m.SUMMARY, m.OPTIONS, m.MACHINES),
        writes=(m.UPLOADS, m.PROXIES, m.SECRETS, m.CLUSTER),
    ),
    "scheduler": Rights(
        asks=(m.SCHEDULER_HEALTH,),  # of the one that leads
        tells=(
            *(
                m.NODE_ADDED,
                m.NODE_REMOVED,
                m.NODE_LOCKED,
                m.NODE_UNLOCKED,
                m.NODE_DRAINED,
                m.NODE_ONLINE,
                m.NODE_OFFLINE,
            ),
            *(m.TASK_SUBMITTED, m.TASK_PLACED, m.TASK_STARTED, m.TASK_ATTEMPT_ENDED, m.TASK_FINISHED, m.TASK_REMOVED),
            *(m.TASK_RESTARTED, m.PLACEMENT_POSSIBLE),
        ),
        hears=(m.FINISH_REPORTED,),
        reads=(m.UPLOADS, m.PROXIES),
        writes=(m.NODES, m.TASKS, m.ENDED, m.OBSERVATIONS, m.SUMMARY, m.OPTIONS, m.TOMBSTONES, m.CLUSTER),
        objects=(m.CONSOLES,),
        sets=(m.DEMAND_CHANGED,),
        follows=(m.SUPPLY_CHANGED,),
        leads=True,
    ),
    "autoscaler": Rights(
        asks=(m.ADD_NODE, m.LOCK_NODE, m.LOSE_NODE, m.LIST_NODES, m.SCHEDULER_HEALTH, m.AUTOSCALER_HEALTH),
        tells=(
            *(m.MACHINE_REQUESTED, m.MACHINE_CREATED, m.MACHINE_ONLINE, m.MACHINE_DRAINED, m.MACHINE_CONDEMNED),
            *(m.MACHINE_DESTROYED, m.MACHINE_FAILED, m.MACHINE_LOST, m.MACHINE_LEAKED),
        ),
        reads=(m.NODES, m.TASKS),
        writes=(m.MACHINES, m.CLUSTER),
        keeps=("autoscaler", "autoscaler-secrets"),
        sets=(m.SUPPLY_CHANGED,),
        follows=(m.DEMAND_CHANGED,),
        leads=True,
    ),
    "admin": Rights(
        asks=(
            *(
                m.ADD_NODE,
                m.REMOVE_NODE,
                m.LOCK_NODE,
                m.UNLOCK_NODE,
                m.DRAIN_NODE,
                m.LIST_NODES,
                m.UPDATE_NODES,
                m.BEST_NODE,
            ),
            *(
                m.GET_TASK,
                m.LIST_TASKS,
                m.READ_CONSOLE,
                m.CANCEL_TASK,
                m.REMOVE_TASK,
                m.IMPORT_ROUTE,
                m.SCHEDULER_HEALTH,
            ),
            *(m.VIEW_COMMAND, m.GET_AUTOSCALER_STATUS, m.LIST_MACHINES, m.DESTROY_MACHINE, m.PAUSE_AUTOSCALER),
            *(m.RESUME_AUTOSCALER, m.AUTOSCALER_HEALTH),
        )
    ),
}


def published(service: str, rights: Rights) -> Iterator[str]:
    """Name the subjects that a service may write to."""
    yield from (each.subject for each in rights.asks)
    yield from (each.subject for each in rights.tells)
    yield from (*opened(m.EVENTS_STREAM), f"{API}.STREAM.UPDATE.{m.EVENTS_STREAM}")
    yield from of_stores(rights)
    for snapshot in rights.sets:
        yield from written(snapshot.stream, snapshot.subject)
    for snapshot in rights.follows:
        yield from (*read(snapshot.stream), f"{API}.STREAM.UPDATE.{snapshot.stream}")
    if rights.leads:
        yield from (m.LEADER_ANSWERS.subject, *written(LEASES, f"$KV.leases.{service}"))
        yield "_INBOX.>"  # the answers; what an inbox is called cannot be guessed


def of_stores(rights: Rights) -> Iterator[str]:
    """Name what it takes to use buckets and stores of objects."""
    for bucket in rights.reads:
        yield from read(f"KV_{bucket.name}")
    for name in (*(each.name for each in rights.writes), *rights.keeps):
        yield from written(f"KV_{name}", f"$KV.{name}.>")
    yield from (f"{API}.STREAM.DELETE.KV_{each.name}" for each in rights.writes if not each.durable)
    for store in rights.objects:
        yield from written(f"OBJ_{store.name}", f"$O.{store.name}.>")
        yield f"{API}.STREAM.NAMES"  # nats-py looks the stream of an object up by its subject


def subscribed(service: str, rights: Rights) -> Iterator[str]:
    """Name the subjects that a service may listen to."""
    yield f"_INBOX.{service}.>"
    yield from (each.subject for each in (*rights.hears, m.LEADER_ANSWERS))
    if rights.leads:
        yield from (f"{m.PREFIX}.{service}.*", SERVICE_PINGS)


def opened(stream: str) -> tuple[str, ...]:
    """Name what it takes to see that a stream is there."""
    return f"{API}.STREAM.INFO.{stream}", f"{API}.STREAM.CREATE.{stream}"


def read(stream: str) -> tuple[str, ...]:
    """Name what it takes to read and follow a stream."""
    of_consumers = (f"CREATE.{stream}", f"CREATE.{stream}.>", f"DURABLE.CREATE.{stream}.*", f"INFO.{stream}.*")
    taken = (f"DELETE.{stream}.*", f"MSG.NEXT.{stream}.*")
    return (
        *opened(stream),
        *(f"{API}.CONSUMER.{each}" for each in (*of_consumers, *taken)),
        *(f"{API}.STREAM.MSG.GET.{stream}", f"{API}.DIRECT.GET.{stream}", f"{API}.DIRECT.GET.{stream}.>"),
        *(f"$JS.FC.{stream}.>", f"$JS.ACK.{stream}.>"),
    )


def written(stream: str, *subjects: str) -> tuple[str, ...]:
    """Name what it takes to own a stream."""
    return (*read(stream), f"{API}.STREAM.UPDATE.{stream}", f"{API}.STREAM.PURGE.{stream}", *subjects)


def variable(user: str) -> str:
    """Name the variable that holds a user's password."""
    return f"NATS_{user.upper()}_PASSWORD"


def configuration() -> str:
    """Write the part of nats-server's configuration that says who may what."""
    users = "\n".join(entry(user, rights) for user, rights in RIGHTS.items())
    return f"""\
# Written by `python -m deploy.nats_users`, which says why. The passwords are variables of nats-server's environment.
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
    users = (OPERATOR, *RIGHTS)
    passwords = "".join(f"  {variable(user)}: {user}\n" for user in users)
    indented = "".join(f"    {line}\n" for line in configuration().splitlines())
    return f"""\
# Written by `python -m deploy.nats_users`. The passwords: replace them before the cluster is used, each beginning with a letter, or
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
