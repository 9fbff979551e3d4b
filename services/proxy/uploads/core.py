"""What is decided about a new task: its id, its fields, and how many uploads its client may have open. Pure.

NodeODM takes a client's own id (header `set-uuid`) when it is a UUID of version 1 to 7; so do we. The id is kept as it was
written: in another letter case it is another task.

`--flood-limit` counts only uploads that exist: not one that was refused, committed, discarded or has expired. Clients are told apart
by their tokens; without tokens they are all one, as in the original.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.model.nodes import NodeOption
from clusterodm.libs.common.model.values import TaskId
from clusterodm.services.proxy.exchange.destinations import webhook_of
from clusterodm.services.proxy.exchange.nodeodm_api import UUID, Caller
from clusterodm.services.proxy.options.check import rewrite_split
from clusterodm.services.proxy.spool.core.upload import Draft
from clusterodm.services.proxy.tenants.core import chosen_options

SLOW_DOWN: Final = (
    "Uuh, slow down! It seems like you are sending a lot of tasks. Check that your connection is not dropping, "
    "or wait 15 minutes and try again."
)
"""The original's words."""
TRUTHS: Final = frozenset(("true", "1", "on", "yes"))


def task_id(set_uuid: str | None, fresh: str) -> TaskId:
    """Take the client's id, or the fresh one when it named none. Raises Refused for anything that is not a UUID."""
    if not set_uuid:
        return TaskId(fresh)
    if not UUID.fullmatch(set_uuid):
        raise Refused(f"Invalid set-uuid: {set_uuid}")
    return TaskId(set_uuid)


def check_flood(open_count: int, limit_count: int) -> None:
    """Raise Refused when an owner has `limit_count` uploads open already; 0 is no limit.

    `open_count`: the owner's uncommitted uploads except the one that is being begun.
    """
    if limit_count and open_count >= limit_count:
        raise Refused(SLOW_DOWN)


def date_created_ms(text: str, now_ms: WallMs) -> int:
    """Read the client's own date, in ms; anything that is none counts as not given."""
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) <= len(str(now_ms)) else now_ms


def default_name(created_at_ms: int) -> str:
    """Name a task as NodeODM does when its client did not."""
    moment = datetime.fromtimestamp(created_at_ms / 1000, UTC)
    return f"Task of {moment.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}"


def draft_of(  # noqa: PLR0913 what a task is made of
    task: TaskId,
    client: Caller,
    form: Mapping[str, str],
    known: Sequence[NodeOption],
    *,
    splitmerge: bool,
    now_ms: WallMs,
    keeps_token: bool = False,
) -> Draft:
    """Read the fields of a new task; `known`: the options that nodes have. Raises Refused."""
    created_at_ms = date_created_ms(form.get("dateCreated", ""), now_ms)
    options = chosen_options(form.get("options"), known, client.tenant.options)
    return Draft(
        task=task,
        name=form.get("name") or default_name(created_at_ms),
        options=rewrite_split(options, enabled=splitmerge, address=client.address, token=client.token),
        outputs=form.get("outputs", ""),
        skip_post_processing=form.get("skipPostProcessing", "").lower() in TRUTHS,
        webhook=webhook_of(form),
        zip_url=form.get("zipurl", ""),
        owner=client.owner,
        created_at_ms=created_at_ms,
        received_at_ms=now_ms,
        account=client.token if keeps_token else "",
        trace=client.trace,
    )
