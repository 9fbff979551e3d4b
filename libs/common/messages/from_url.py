"""Tasks that come over the bus with the address of their images: submitted by programs of others, taken up by proxies."""

from typing import Final

from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.tasks import TaskRecord, TaskSummary
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.values import Frozen, InstanceId, Owner, TaskId


class SubmitFromUrl(Frozen, frozen=True, kw_only=True):
    """Process what lies at an address: a task that comes over the bus, without an upload. Sent again it gets the same answer and nothing happens twice.

    Its node fetches the archive, as with `zipurl`; any proxy that has room takes it up.
    """

    task: TaskId
    """A UUID of the caller's making."""
    name: str
    zip_url: str
    """http or https. No answer shows more of it than its host."""
    options: tuple[OptionValue, ...] = ()
    outputs: tuple[str, ...] = ()
    """Paths of the results that are wanted; none: all."""
    skip_post_processing: bool = False
    owner: Owner = Owner("")
    """The tenant whose task it is to be, where there are some; its limits of uploads do not count for it."""


class ClaimTask(Frozen, frozen=True, kw_only=True):
    """A proxy that has room takes up a task that nobody holds. Refused when another was first."""

    task: TaskId
    upload_owner: InstanceId


SUBMIT_FROM_URL: Final = Request(
    "scheduler.submit_from_url", SubmitFromUrl, TaskSummary, idempotent=True, for_programs=True
)
CLAIM_TASK: Final = Request("scheduler.claim_task", ClaimTask, TaskRecord, idempotent=True)
