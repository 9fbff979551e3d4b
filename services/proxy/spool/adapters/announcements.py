"""KV `uploads`: which proxy holds which upload, so that any proxy can take any request. The spool writes its own entries.

The spool is the truth, the bucket an announcement of it: one that could not be withdrawn, or that NATS has lost, is put
right by `reconcile` (at the start and every now and then). One that could not be withdrawn is withdrawn seconds later.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress

import structlog

from clusterodm.libs.common.errors import BusFailed, Conflict, Refused, Unreadable
from clusterodm.libs.common.model.tasks import Upload
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.libs.common.ports import Bucket, Entry
from clusterodm.services.proxy.spool.core.upload import Draft

log = structlog.get_logger()


class UploadAnnouncements:
    """The announcements of one proxy."""

    def __init__(self, uploads: Bucket[Upload], instance: InstanceId, url: str) -> None:
        self._uploads = uploads
        self._instance = instance
        self._url = url
        self._twice: set[TaskId] = set()
        """Held by another proxy, too: of each it has been said."""
        self._owed: set[TaskId] = set()
        """To be withdrawn still."""

    async def announce(self, draft: Draft) -> None:
        """Announce an upload; an id that another proxy holds is taken. Raises Refused, BusFailed."""
        try:
            await self._uploads.create(draft.task, self._announcement(draft))
        except Conflict:
            held = await self._uploads.get(draft.task)
            if held is None or not await self._put_right(draft, held):
                raise Refused(f"Invalid set-uuid: {draft.task}") from None

    async def withdraw(self, task: TaskId) -> None:
        """Say that an upload is gone, or have `withdraw_owed` say it when NATS is there."""
        try:
            await self._withdraw(task)
        except BusFailed as error:
            self._owed.add(task)
            log.warning("upload.still_announced", task=task, reason=error.message)

    async def withdraw_owed(self, present: Callable[[TaskId], bool]) -> None:
        """Withdraw what could not be withdrawn, unless an upload of that id is present again. Raises BusFailed."""
        for task in list(self._owed):
            if not present(task):
                await self._withdraw(task)
            self._owed.discard(task)

    async def _withdraw(self, task: TaskId) -> None:
        held = await self._uploads.get(task)
        if held is not None and held.value.instance == self._instance:
            await self._uploads.delete(task)

    async def remove(self, task: TaskId) -> None:
        """Remove an announcement, whoever made it. Raises BusFailed."""
        await self._uploads.delete(task)

    async def reconcile(self, present: Callable[[], Iterable[Draft]]) -> list[Upload]:
        """Make our announcements say what is present; those of the others. Raises BusFailed."""
        known = await self._uploads.load()
        for draft in list(present()):
            if not await self._put_right(draft, known.get(draft.task)) and await self._is_anothers(draft.task):
                if draft.task not in self._twice:
                    log.error("upload.held_twice", task=draft.task)
                self._twice.add(draft.task)
        left = {draft.task for draft in present()}
        for key, found in known.items():
            if found.value.instance == self._instance and TaskId(key) not in left:
                await self._uploads.delete(key)
        return [found.value for found in known.values() if found.value.instance != self._instance]

    async def _put_right(self, draft: Draft, found: Entry[Upload] | None) -> bool:
        """Make one announcement say that we hold the upload; False when it is another proxy's. Compare-and-set throughout."""
        announcement = self._announcement(draft)
        try:
            if found is None:
                await self._uploads.create(draft.task, announcement)
            elif found.value.instance != self._instance:
                return False
            elif found.value != announcement:
                await self._uploads.update(draft.task, announcement, found.revision)
        except Conflict:
            return False
        return True

    async def _is_anothers(self, task: TaskId) -> bool:
        """Look again whose an upload is: since all were read it may have been begun here, or have gone."""
        with suppress(Unreadable):
            held = await self._uploads.get(task)
            return held is not None and held.value.instance != self._instance
        return False

    def _announcement(self, draft: Draft) -> Upload:
        return Upload(
            task=draft.task,
            instance=self._instance,
            url=self._url,
            created_at_ms=draft.received_at_ms,
            owner=draft.owner,
        )
