"""Rented machines."""

from enum import StrEnum

from clusterodm.libs.common.model.tasks import Moment
from clusterodm.libs.common.model.values import Frozen, MachineId, NodeId, Owner, TaskId


class MachineState(StrEnum):
    """Where a machine is. The transitions are a table in autoscaler/machine_life/life.py."""

    REQUESTED = "requested"
    """Decided; the provider has not been called."""
    CREATING = "creating"
    """The provider is called, or has been: from here on there may be something to pay."""
    SETTING_UP = "setting-up"
    """The provider has it; its node is not registered yet."""
    ONLINE = "online"
    """Its node is registered and has had no task yet."""
    BUSY = "busy"
    IDLE = "idle"
    """It had a task and has none now."""
    DRAINING = "draining"
    """Takes no more tasks, and goes when it has none."""
    DESTROYING = "destroying"
    """The provider is told to destroy it, until it confirms."""
    GONE = "gone"
    FAILED = "failed"
    """It never took a task, and the provider has confirmed that nothing of it is left."""

    @property
    def ended(self) -> bool:
        """Whether nothing is left of it at the provider."""
        return self in {MachineState.GONE, MachineState.FAILED}

    @property
    def coming(self) -> bool:
        """Whether it is on its way to its first task."""
        return self in {MachineState.REQUESTED, MachineState.CREATING, MachineState.SETTING_UP, MachineState.ONLINE}


def offered(slug: str, *, spot: bool) -> str:
    """Name a size and how it is rented."""
    return f"{slug} (spot)" if spot else slug


class Machine(Frozen, frozen=True, kw_only=True):
    """A rented computer, as the autoscaler keeps it: written before each step is done. It holds no secret."""

    id: MachineId
    """Also its name at the provider: `clusterodm-<cluster>-<images>-<random>`."""
    state: MachineState = MachineState.REQUESTED
    provider: str
    """`digitalocean`, `aws`, ... as the configuration names it."""
    region: str = ""
    size: str = ""
    """The provider's name of the size."""
    max_images: int | None = None
    max_bytes: int | None = None
    price_per_hour: float | None = None
    """What it costs while it exists, when the configuration says so."""
    billed_unit_ms: int = 0  # started units of so much are billed whole; 0: the time that it exists
    billed_least_ms: int = 0
    tasks_at_once_count: int = 1
    labels: tuple[str, ...] = ()
    """Of its node: as the configuration says, then as operators do."""
    spot: bool = False
    """It may be taken away at any time, and costs less."""
    interruptions_limit_count: int = 0
    """A task that has lost so many spot machines is not sent there; 0: any may be."""
    gpu: bool = False
    """It has a graphics card."""
    for_task: TaskId | None = None
    """The task that it was requested for; any other that fits may take it. None: it belongs to the warm pool."""
    owner: Owner = Owner("")
    """Whose task that was: it counts against this owner's budget; empty: nobody's, or not known."""
    reason: str = ""
    """Why it is in this state."""
    requested_at_ms: int
    state_at_ms: int = 0
    """Since when it is in this state."""
    called_at_ms: int | None = None
    """When the provider was called: from here on it may cost."""
    created_at_ms: int | None = None
    """When the provider said that it has it."""
    online_at_ms: int | None = None
    ended_at_ms: int | None = None
    removal_taken_at_ms: int | None = None
    """When the provider took the removal after which nothing of it was left, or else when a look first showed nothing: so long it has cost. None: until `ended_at_ms`."""
    ref: str = ""
    """The provider's own id."""
    hostname: str = ""
    """Where its node is reached."""
    port: int = 3000
    node: NodeId | None = None
    memory_bytes: int = 0
    """What its node said of its memory; 0: not known yet."""
    tasks: tuple[TaskId, ...] = ()
    """On it now."""
    done: tuple[TaskId, ...] = ()
    """Those that ran on it and have ended or left."""
    emptied_at_ms: int | None = None
    """When the last of its tasks ended or left."""
    webhook_digest: str = ""
    """SHA-256 of the secret with which its node reports a finished task, hexadecimal."""
    failure: str = ""
    """Why it never came up. What became of its removal is kept apart (`removal_failure`)."""
    failed_at_ms: int | None = None
    trouble: str = ""
    """What kind of failure that was (errors.Trouble)."""
    may_be_left: bool = False
    """Its creation has failed, and something of it may be at the provider all the same."""
    seen_at_ms: int = 0
    """When the provider was first seen to have it although no creation had said so; 0: that was never seen."""
    never_was: bool = False
    """It has ended, and the provider has confirmed that nothing ever came of it: it has cost nothing."""
    removal_failure: str = ""
    """What the last try to destroy it failed with; empty: none has failed, or one has succeeded since."""
    removal_trouble: str = ""
    """What kind of failure that was (errors.Trouble)."""
    interrupted: bool = False
    """It is a spot machine, and its provider has taken it away or is about to."""
    silent: bool = False
    """It was found at the provider without a record, and its node has not answered yet: nothing is counted on it."""
    offline_since_ms: int | None = None
    timeline: tuple[Moment, ...] = ()

    def __repr__(self) -> str:
        """Show the state in one line."""
        return f"Machine({self.id} {self.state} {self.size}@{self.region} tasks={len(self.tasks)})"
