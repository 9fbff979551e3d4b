"""What a Pod's status means for the machine that it is, and what the API server's refusals mean for the next try.

A Pod that has ended holds nothing of its node any more, and stays listed until it is deleted: it is told as about to leave, with why. So is
one that will not come up (its image cannot be pulled), and one that the cluster has said to take away (a spot node, an eviction).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from clusterodm.libs.common.errors import Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.autoscaler.orders import NODE_PORT, ProviderMachine
from clusterodm.services.autoscaler.providers.core.kubernetes_pods import CONTAINER, REGION, SIZE

LONGEST: Final = 300
RUNNING: Final = "Running"
ENDED: Final = ("Failed", "Succeeded")
HOPELESS: Final = (
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerError",
    "RunContainerError",
)
"""What a container waits for that does not come by itself. `ErrImagePull` is not yet it: the kubelet pulls once more."""
OUT_OF_MEMORY: Final = "OOMKilled"
QUOTA: Final = "exceeded quota"
NO_RIGHT: Final = " cannot "
"""As in `User "system:serviceaccount:odm:asr" cannot create resource "pods"`."""
USUAL: Final[Mapping[int, Trouble]] = {
    HTTPStatus.UNAUTHORIZED: Trouble.UNAUTHORISED,
    HTTPStatus.CONFLICT: Trouble.RETRYABLE,
    HTTPStatus.GONE: Trouble.RETRYABLE,
    HTTPStatus.TOO_MANY_REQUESTS: Trouble.RETRYABLE,
}


def machine(pod: Mapping[str, Any]) -> ProviderMachine:
    """Read a Pod as the API server gives it. Raises KeyError where it is none."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    told = metadata.get("annotations") or {}
    ports = [port["containerPort"] for port in container_of(pod).get("ports") or ()]
    return ProviderMachine(
        name=MachineId(metadata["name"]),
        ref=metadata["uid"],
        address=address(status),
        port=next(iter(ports), NODE_PORT),
        running=status.get("phase") == RUNNING,
        leaving=one_line(why_it_leaves(pod)),
        size=told.get(SIZE, ""),
        region=told.get(REGION, ""),
        created_at_ms=moment_ms(metadata.get("creationTimestamp") or ""),
    )


def container_of(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the container with the node."""
    containers = (pod.get("spec") or {}).get("containers") or ()
    return next((each for each in containers if each.get("name") == CONTAINER), {})


def address(status: Mapping[str, Any]) -> str:
    """Give the address of a Pod, that of version 4 where it has both; empty: none yet."""
    every = [each.get("ip") or "" for each in status.get("podIPs") or ()]
    return next((each for each in every if "." in each), "") or status.get("podIP") or ""


def why_it_leaves(pod: Mapping[str, Any]) -> str:
    """Say why a Pod has ended, is about to, or will not come up; empty: nothing of that."""
    return next(reasons(pod), "")


def reasons(pod: Mapping[str, Any]) -> Iterator[str]:
    """Give the reasons, that which says most first."""
    status = pod.get("status") or {}
    states = [each.get("state") or {} for each in status.get("containerStatuses") or ()]
    if status.get("reason") and status.get("phase") in ENDED:
        yield said(status)
    yield from (how_it_ended(each["terminated"], pod) for each in states if each.get("terminated"))
    yield from (said(each) for each in conditions(status, "DisruptionTarget", "True"))
    yield from (said(each["waiting"]) for each in states if (each.get("waiting") or {}).get("reason") in HOPELESS)
    if status.get("phase") in ENDED:
        yield f"the Pod has ended ({status['phase']})"
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        yield "the Pod is being deleted"


def how_it_ended(terminated: Mapping[str, Any], pod: Mapping[str, Any]) -> str:
    """Say how a container has ended."""
    if terminated.get("reason") == OUT_OF_MEMORY:
        limits = (container_of(pod).get("resources") or {}).get("limits") or {}
        return f"it ran out of memory ({OUT_OF_MEMORY}, the limit is {limits.get('memory', 'not known')})"
    return f"its node has ended with code {terminated.get('exitCode')} ({said(terminated)})"


def unschedulable(pod: Mapping[str, Any]) -> str:
    """Say why no node takes a Pod; empty: one has taken it, or nobody has looked yet."""
    found = conditions(pod.get("status") or {}, "PodScheduled", "False")
    return one_line(said(found[0])) if found else ""


def is_scheduled(pod: Mapping[str, Any]) -> bool:
    """Whether a node has taken it."""
    return bool((pod.get("spec") or {}).get("nodeName"))


def conditions(status: Mapping[str, Any], kind: str, value: str) -> Sequence[Mapping[str, Any]]:
    """Give the conditions of a kind that have this value."""
    return [each for each in status.get("conditions") or () if (each.get("type"), each.get("status")) == (kind, value)]


def said(found: Mapping[str, Any]) -> str:
    """Say a reason and its message."""
    return ": ".join(filter(None, (found.get("reason"), found.get("message"))))


def one_line(text: str) -> str:
    """Make a line of what the cluster says; nodes and users write into it."""
    return " ".join(text.split())[:LONGEST]


def moment_ms(text: str) -> int:
    """Read a moment, in milliseconds since 1970; 0: there is none."""
    return round(datetime.fromisoformat(text).timestamp() * 1000) if text else 0


def meaning(status: int, words: str, *, creates: bool) -> Trouble:
    """Say what a refusal means for the next try. A name that is taken: one is there, so it is to be looked for."""
    if status == HTTPStatus.FORBIDDEN:
        return forbidden(words)
    if status == HTTPStatus.CONFLICT and creates:
        return Trouble.UNKNOWN_OUTCOME
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Trouble.unanswered(creates=creates)
    return USUAL.get(status, Trouble.REFUSED)


def forbidden(words: str) -> Trouble:
    """Tell a quota, a rule of the cluster that this Pod breaks, and a right that is missing apart: all are status 403."""
    if QUOTA in words:
        return Trouble.OUT_OF_CAPACITY
    return Trouble.REFUSED if words and NO_RIGHT not in words else Trouble.UNAUTHORISED
