"""One node: the state machine wired to the files, the event log, the clock and the world.

Requests (`app`) call the methods; `run` is the one loop that lets time pass.
Slow work (moving files, packing, webhooks) runs in threads, as jobs of a task
group, and reports back to the state machine when it is done.
"""

import asyncio
import contextlib
import dataclasses
import re
import uuid as uuids
from pathlib import Path
from typing import Any, Final

from clusterodm.libs.nodesim import console, options, outside, records, results, tasks
from clusterodm.libs.nodesim.events import EventLog, now_ms
from clusterodm.libs.nodesim.settings import Settings
from clusterodm.libs.nodesim.store import Received, Store, StoreError, too_many
from clusterodm.libs.nodesim.tasks import Change, Ended, Phase, Plan, Processed, Started, Task, Tasks

SET_UUID: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[1-7][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z", re.IGNORECASE
)
TIDY_EVERY_S: Final = 3600.0
WEBHOOK_TRIES: Final = 6
SHORTEST_WEBHOOK: Final = 4
BYTES_PER_MB: Final = 1024 * 1024


class Refused(Exception):
    """The client's request cannot be met; the message is NodeODM's."""


class Node:
    """Everything that a simulated node is, except HTTP."""

    def __init__(self, settings: Settings, root: Path, events: EventLog) -> None:
        self.settings = settings
        self.options = options.load(Path(settings.options_file) if settings.options_file else None)
        self.store = Store(root)
        self.tasks = Tasks()
        self.events = events
        self.thawed = asyncio.Event()
        self.thawed.set()
        self._changed = asyncio.Event()
        self._jobs = asyncio.TaskGroup()
        self._initialised: dict[str, asyncio.Event] = {}

    async def run(self) -> None:
        """Let time pass until cancelled."""
        self._restore()
        self.apply(self.settings)
        async with self._jobs:
            self._spawn(self._tidy(), "tidy")
            while True:
                self._changed.clear()
                self._advance()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), self._pause_s())

    def save(self) -> None:
        """Write down the tasks for the next start, as NodeODM does when it is asked to stop."""
        self.store.save_tasks([records.saved(task) for task in self.tasks.all.values()])

    def apply(self, settings: Settings) -> None:
        """Behave like this from now on."""
        self.settings = settings
        if settings.frozen:
            self.thawed.clear()
        else:
            self.thawed.set()
        self._changed.set()

    # What clients ask for

    def new_uuid(self, suggested: str) -> str:
        """Take the client's uuid when it may be taken, or make one. Raises: Refused."""
        if not suggested:
            return str(uuids.uuid4())
        if not SET_UUID.match(suggested) or suggested in self.tasks.all:
            raise Refused(f"Invalid set-uuid: {suggested}")
        return suggested

    def begin(self, uuid: str, fields: dict[str, str]) -> None:
        """Expect uploads for a task; what was uploaded for it is dropped when it is refused. Raises: OptionsRefused."""
        if fields.get("options"):
            self._check_options(uuid, fields["options"])
        self.store.begin(uuid, fields)
        self.events.tell("task_initialised", task=uuid)

    def _check_options(self, uuid: str, text: str) -> None:
        try:
            options.choose(text, self.options)
        except options.OptionsRefused:
            if self.store.uploaded_count(uuid):
                self.store.drop_upload(uuid)
                self.events.tell("uploads_removed", task=uuid)
            raise

    def receive(self, uuid: str, name: str) -> Received:
        """Open a file for an upload. Raises: StoreError."""
        return self.store.receive(uuid, name, hashed=self.events.wanted)

    def stored(self, uuid: str, file: Received) -> None:
        """Tell that a file came, whole or cut off."""
        name, digest = file.path.name, file.sha256()
        self.events.tell(
            "file_stored", task=uuid, file=name, size=file.size_bytes, sha256=digest, complete=file.complete
        )

    def commit(self, uuid: str) -> None:
        """Take a task whose files have been uploaded. Raises: StoreError, OptionsRefused, Refused."""
        fields = self.store.take_body(uuid)
        try:
            self._create(uuid, fields, "" if self.store.uploaded_count(uuid) else "Need at least 1 file.")
        except (Refused, options.OptionsRefused):
            self.store.drop_upload(uuid)
            raise

    def create(self, uuid: str, fields: dict[str, str], files_count: int) -> None:
        """Take a task sent in one request. Raises: OptionsRefused, Refused."""
        try:
            self._create(uuid, fields, self._objection(fields, files_count))
        except (Refused, options.OptionsRefused):
            self.store.drop_upload(uuid)
            raise

    def info(self) -> dict[str, Any]:
        """Describe the node as `GET /info` does."""
        settings = self.settings
        return {
            "version": settings.version,
            "taskQueueCount": self.tasks.waiting_count(),
            "totalMemory": settings.total_memory_mb * BYTES_PER_MB,
            "availableMemory": settings.available_memory_mb * BYTES_PER_MB,
            "cpuCores": settings.cpu_cores,
            "maxImages": settings.max_images or None,
            "maxParallelTasks": settings.parallel_tasks,
            "engineVersion": settings.engine_version,
            "engine": settings.engine,
        }

    def task_info(self, uuid: str) -> dict[str, Any]:
        """Describe a task as its `info` does. Raises: TaskError."""
        return tasks.info(self.tasks.find(uuid), now_ms())

    def output(self, uuid: str, since: str | None) -> list[str]:
        """Console of a task from a line on. Raises: TaskError."""
        return console.output(self.tasks.find(uuid), now_ms(), self.settings.console_lines_per_s, since)

    def cancel(self, uuid: str) -> None:
        """Stop a task. Raises: TaskError."""
        task = self.tasks.find(uuid)
        if task.phase is not Phase.CANCELED:
            self.events.tell("task_canceled", task=uuid)
        self._follow(self.tasks.cancel(task, now_ms()))
        self._changed.set()

    async def remove(self, uuid: str) -> None:
        """Cancel and forget a task; one that is being initialised is waited for. Raises: TaskError."""
        self.cancel(uuid)
        task = self.tasks.find(uuid)
        if not task.initialised:
            await self._initialised[uuid].wait()
        await asyncio.to_thread(self.store.remove, uuid)
        if self.tasks.all.get(uuid) is task:
            self.tasks.remove(task)
            self.events.tell("task_removed", task=uuid)

    def restart(self, uuid: str, chosen: str) -> None:
        """Queue an ended task again. Raises: TaskError, OptionsRefused."""
        choice = None
        skip = uuid in self.tasks.all and self.tasks.find(uuid).skip_post_processing
        if chosen:
            choice = options.with_post_processing(options.choose(chosen, self.options), self.options, skip=skip)
        self.tasks.restart(self.tasks.find(uuid), now_ms(), choice)
        self.events.tell("task_restarted", task=uuid)
        self._changed.set()

    def forget(self) -> None:
        """Lose all tasks and data, as NodeODM does after a crash."""
        self.tasks = Tasks()
        self.store.forget()
        self.events.tell("tasks_forgotten")
        self._changed.set()

    # What follows

    def _objection(self, fields: dict[str, str], files_count: int) -> str:
        """Say what is wrong with a task sent in one request; nothing when it is fine."""
        if not files_count and not fields.get("zipurl"):
            return "Need at least 1 file or a zip file url."
        return too_many(files_count, self.settings.max_images) if 0 < self.settings.max_images < files_count else ""

    def _create(self, uuid: str, fields: dict[str, str], objection: str) -> None:
        if objection:
            raise Refused(objection)
        chosen = options.choose(fields.get("options"), self.options)
        task = records.made(uuid, fields, chosen, self.store.uploaded_count(uuid), now_ms())
        self.tasks.add(task)
        self._initialised[uuid] = asyncio.Event()
        self.events.tell("task_committed", task=uuid, files=task.images_count)
        self._spawn(self._initialise(task, fields.get("zipurl", "")), f"initialise {uuid}")

    async def _initialise(self, task: Task, zip_url: str) -> None:
        await asyncio.sleep(self.settings.init_time_s)
        count, error_message = task.images_count, None
        try:
            if zip_url:
                await asyncio.to_thread(outside.download, zip_url, self.store.zip_target(task.uuid))
            count = await asyncio.to_thread(self.store.prepare, task.uuid, self.settings.max_images)
            task.options = options.with_post_processing(task.options, self.options, skip=task.skip_post_processing)
        except (StoreError, outside.DownloadFailed, OSError) as error:
            error_message = str(error)
            self.store.drop_upload(task.uuid)
        self.tasks.initialised(task, count, error_message)
        if error_message:
            self.events.tell("task_refused", task=task.uuid, error=error_message)
        else:
            self.events.tell("task_queued", task=task.uuid, images=count)
        self._initialised.pop(task.uuid).set()
        self._changed.set()

    def _plan(self, task: Task) -> Plan:
        """Decide how this run will go, and count down what was asked for the next few."""
        settings = self.settings
        duration_s = settings.task_time_s + settings.image_time_s * task.images_count
        message = None
        if 0 < settings.out_of_memory_images < task.images_count:
            message = "Not enough memory"
        elif settings.fail_all or settings.fail_next_count:
            message = settings.fail_message
            self.settings = dataclasses.replace(settings, fail_next_count=max(0, settings.fail_next_count - 1))
        return Plan(duration_s if message is None else duration_s * settings.fail_after_part, message)

    def _advance(self) -> None:
        self._follow(self.tasks.advance(now_ms(), self.settings.parallel_tasks, self._plan))

    def _follow(self, changes: list[Change]) -> None:
        for change in changes:
            task = change.task
            match change:
                case Started():
                    self.events.tell("task_started", task=task.uuid, run=task.run_count)
                case Processed():
                    self._spawn(self._pack(task), f"pack {task.uuid}")
                case Ended():
                    self._tell_end(task)
                    for url in (task.webhook, self.settings.webhook):
                        if len(url) >= SHORTEST_WEBHOOK:
                            self._spawn(self._call_webhook(url, task), f"webhook of {task.uuid}")

    def _tell_end(self, task: Task) -> None:
        if task.phase is not Phase.CANCELED:
            code, error = task.phase.code, task.error_message
            self.events.tell("task_finished", task=task.uuid, run=task.run_count, status=code, error=error)

    async def _pack(self, task: Task) -> None:
        run, error_message = task.run_count, None
        lines = console.output(task, now_ms(), self.settings.console_lines_per_s)
        padding_bytes = round(self.settings.result_size_mb * BYTES_PER_MB)
        try:
            await asyncio.to_thread(results.pack, self.store.project(task.uuid), task, lines, padding_bytes)
            if self.settings.result_command:
                await asyncio.to_thread(
                    outside.hand_over, self.settings.result_command, task.uuid, self.store.project(task.uuid)
                )
        except OSError as error:
            error_message = str(error)
        self._follow(self.tasks.packed(task, run, now_ms(), error_message))
        self._changed.set()

    async def _call_webhook(self, url: str, task: Task) -> None:
        images = await asyncio.to_thread(results.images_database, self.store.project(task.uuid))
        payload = tasks.info(task, now_ms()) | {"images": images}
        for attempt in range(WEBHOOK_TRIES):
            if await asyncio.to_thread(outside.call_webhook, url, payload):
                return
            await asyncio.sleep(attempt * self.settings.webhook_retry_s)

    async def _tidy(self) -> None:
        """Remove what has been kept long enough: at the start, and every hour, as NodeODM does."""
        while True:
            for task in self.tasks.expired(now_ms(), self.settings.keep_tasks_s):
                await self.remove(task.uuid)
            for uuid in self.store.stale_uploads(now_ms() / 1000 - self.settings.keep_uploads_s):
                self.store.drop_upload(uuid)
                self.events.tell("uploads_removed", task=uuid)
            kept_s = min(self.settings.keep_tasks_s, self.settings.keep_uploads_s)
            await asyncio.sleep(min(TIDY_EVERY_S, max(1.0, kept_s)))

    def _pause_s(self) -> float | None:
        due_ms = self.tasks.next_change_ms()
        return None if due_ms is None else max(0, due_ms - now_ms()) / 1000 + 0.001

    def _spawn(self, job: Any, name: str) -> None:
        self._jobs.create_task(job, name=name)

    def _restore(self) -> None:
        for saved in self.store.saved_tasks():
            images = self.store.project(saved["uuid"]) / "images"
            self.tasks.add(records.restored(saved, sum(1 for _ in images.iterdir())))
