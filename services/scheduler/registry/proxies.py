"""Which proxies are there, which of them poll for placements at this moment, and how many more tasks each could send.

An upload owner keeps a question open for as long as it holds tasks that wait (`scheduler.place_tasks`), whether it has room or not; while it
sends, it renews its attempts. Who does neither for `silence_s` is *away*: nobody can place what it holds, and no machine helps. The
time covers the moment between two questions and a change of leader. Who has not spoken yet since this scheduler leads gets the
same time.

How many tasks an upload owner can still send is not asked: it says how many it can send at once, and which of its attempts are being sent
is known here.

A proxy is its spool: one that runs at the same address with another directory is another one, and has none of these photos.
"""

from collections.abc import Iterable, Mapping

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.model.cluster import Proxy
from clusterodm.libs.common.model.tasks import AttemptState, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, TaskId

SILENCE_S = 15.0


class ProxyRegistry:
    """What is known of the proxies that hold tasks."""

    def __init__(self, silence_s: float = SILENCE_S) -> None:
        self.away: set[InstanceId] = set()
        """Those that neither poll nor send."""
        self._silence_s = silence_s
        self._polling: dict[InstanceId, int] = {}
        """How many tasks those who poll now can send at once."""
        self._places: dict[InstanceId, int] = {}
        """How many those could send at once who have polled since they were away, when they last did."""
        self._heard: dict[InstanceId, Instant] = {}
        self._sending: dict[InstanceId, set[TaskId]] = {}

    def heard(self, upload_owner: InstanceId, now: Instant) -> bool:
        """Note that an upload owner is there; whether it was away."""
        was_away = upload_owner in self.away
        self.away.discard(upload_owner)
        self._heard[upload_owner] = now
        return was_away

    def open_poll(self, upload_owner: InstanceId, places_count: int) -> None:
        """Note that an upload owner polls now."""
        self._polling[upload_owner] = places_count
        if places_count:
            self._places[upload_owner] = places_count

    def rest(self, upload_owner: InstanceId) -> None:
        """Note that it does not poll any more."""
        self._polling.pop(upload_owner, None)

    def polling(self) -> tuple[InstanceId, ...]:
        """Name those who poll now."""
        return tuple(self._polling)

    def polls(self, upload_owner: InstanceId) -> bool:
        """Whether an upload owner polls now."""
        return upload_owner in self._polling

    def places_count(self, upload_owner: InstanceId) -> int:
        """Say how many tasks it can send at once; 0 when it does not poll."""
        return self._polling.get(upload_owner, 0)

    def room_count(self, upload_owner: InstanceId) -> int:
        """Say how many more tasks an upload owner polls for."""
        return max(0, self.places_count(upload_owner) - len(self._sending.get(upload_owner, ())))

    def is_full(self, upload_owner: InstanceId, more_count: int) -> bool:
        """Whether an upload owner sends, with so many more, as many tasks as it can; False when it has never said how many."""
        sending_count = len(self._sending.get(upload_owner, ())) + more_count
        return sending_count >= self._places.get(upload_owner, sending_count + 1)

    def sending(self, upload_owner: InstanceId) -> tuple[TaskId, ...]:
        """Name the tasks that an upload owner sends, or for which a slot is reserved."""
        return tuple(self._sending.get(upload_owner, ()))

    def take(self, upload_owner: InstanceId, task: TaskId) -> None:
        """Count a task that is being sent or about to be; counted once however often."""
        self._sending.setdefault(upload_owner, set()).add(task)

    def give_back(self, upload_owner: InstanceId, task: TaskId) -> None:
        """Count it no more."""
        tasks = self._sending.get(upload_owner, set())
        tasks.discard(task)
        if not tasks:
            self._sending.pop(upload_owner, None)

    def task_changed(self, before: Task | None, after: Task | None, *, reserved: bool) -> None:
        """Count a task that its upload owner sends now; one that it sends no more, and for which no slot is reserved, is given back."""
        if before is not None and not reserved:
            self.give_back(before.upload_owner, before.id)
        last = after.attempt if after is not None and after.state is TaskState.FORWARDING else None
        if after is not None and last is not None and last.state is AttemptState.FORWARDING:
            self.take(after.upload_owner, after.id)

    def check(self, upload_owners: Iterable[InstanceId], now: Instant) -> list[InstanceId]:
        """Note who of these is away, and say of whom that is news. Others are of no interest, and are forgotten."""
        known = frozenset(upload_owners)
        went = []
        for upload_owner in known:
            since = now if upload_owner in self._polling else self._heard.get(upload_owner, now)
            self._heard[upload_owner] = since
            if upload_owner not in self.away and now - since > self._silence_s:
                self.away.add(upload_owner)
                self._places.pop(upload_owner, None)
                went.append(upload_owner)
        for upload_owner in self._heard.keys() - known:
            del self._heard[upload_owner]
            self.away.discard(upload_owner)
        return went


# --- words for users and operators --------------------------------------------------------------------------------------

Proxies = Mapping[InstanceId, Proxy]


def upload_owner_away(upload_owner: InstanceId, url: str, proxies: Proxies) -> str:
    """Say for whom a task waits. `url`: where its upload was announced, if anywhere."""
    if not upload_owner:
        return "Waiting for a proxy that takes it up: none has room, or none is there"
    known = proxies.get(upload_owner)
    address = known.url if known else url
    line = f"Waiting for proxy {address or upload_owner}, which holds the photos and does not answer"
    if known:
        line += f" (they lie in {known.spool} on {known.host})"
    if address and any(is_instead(other, upload_owner, address, known) for other in proxies.values()):
        line += "; the proxy that runs there now does not have them"
    return line


def is_instead(other: Proxy, upload_owner: InstanceId, address: str, known: Proxy | None) -> bool:
    """Whether another proxy was started later at the same address."""
    later = known is None or other.started_at_ms > known.started_at_ms
    return other.instance != upload_owner and other.url == address and later


def upload_owner_gone(upload_owner: InstanceId, url: str, proxies: Proxies, hours: float) -> str:
    """Say why a task fails whose upload owner has not come back."""
    if not upload_owner:
        return f"No proxy has taken it up for {hours:g} h. Please create the task again."
    known = proxies.get(upload_owner)
    if known:
        where = f"they lay in {known.spool} on {known.host} (proxy {known.url})"
    else:
        where = f"they lay with proxy {url or upload_owner}"
    return f"Its photos are lost: {where}, which has not come back for {hours:g} h. Please create the task again."
