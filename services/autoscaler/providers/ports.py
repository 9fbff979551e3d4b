"""What the autoscaler needs of whoever rents out machines, and what a vendor has to bring for that.

A provider does one thing at a time and remembers nothing: what is wanted and what was done lies in the machines' records.
Every call may be made again after a crash, so `create`, `set_up` and `destroy` are idempotent by name. Whatever goes wrong
is a `ProviderFailed` whose `trouble` says what it means for the next try (clusterodm.libs.common.errors.Trouble); its message holds no
secret. Every call has a time limit of its own; cancelling one leaves nothing half-known, because the record says that it
was under way and the next start asks `inspect`. Where a machine boots by itself, all of this is one adapter's (adapters/booted.py),
and a `Vendor` is what differs. Whoever writes one brings a `VendorKind`, found by an entry point (docs/providers.md).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.autoscaler.config.core.configuration import StepTimeouts
from clusterodm.services.autoscaler.config.core.reader import ObjectReader
from clusterodm.services.autoscaler.orders import Order, ProviderMachine, Removal
from clusterodm.services.autoscaler.providers.core.catalogue import Catalogue
from clusterodm.services.autoscaler.providers.core.snapshots import DiskSnapshot, StoragePrice

Sleep = Callable[[float], Awaitable[None]]
"""Waits for so many seconds."""


class Provider(Protocol):
    """Somebody who rents out machines."""

    async def check(self) -> None:
        """Find out at the start whether it can work at all (program found, keys accepted). Raises Refused."""

    async def create(self, order: Order) -> ProviderMachine:
        """Create the machine, or go on with the one of this name that a call before a crash has left.

        Returns when the provider has it; its address may still be empty. Raises ProviderFailed: its `trouble` is that of
        the creation, whatever became of cleaning up; `leaves` says whether something may be there, and without it nothing is.
        One that could not look has left nothing where no call was made before (`Order.asked_before`).
        """

    async def set_up(self, order: Order, found: ProviderMachine) -> ProviderMachine:
        """Do what it takes until the node is starting on the machine; the machine with its address.

        Nothing to do for providers that boot by user data but to wait for the address. Raises ProviderFailed.
        """

    async def inspect(self, name: MachineId, ref: str = "") -> ProviderMachine | None:
        """Look one machine up, by its name and by its id if that is known; None: none was found. Raises ProviderFailed."""

    async def list(self, prefix: str) -> Sequence[ProviderMachine]:
        """All machines whose name begins so, in every region, whatever state they are in. Raises ProviderFailed."""

    async def destroy(self, name: MachineId, ref: str) -> Removal:
        """Destroy all of this name, and all that was made for it; true when there was anything.

        Returns when the provider confirms that nothing is left: a look that is newer than the deletion, or, where nothing
        was found to delete, two looks that do not depend on each other. Raises ProviderFailed: to be called again; as
        RemovalFailed where it knows since when nothing of it costs all the same.
        """

    async def discard(self, found: ProviderMachine) -> None:
        """Remove this one thing, whatever else has its name. Raises ProviderFailed."""

    async def command(self, order: Order) -> str:
        """Say in one line what would be done to create such a machine, secrets masked. Raises ProviderFailed."""


@runtime_checkable
class CatalogueVendor(Protocol):
    """A Vendor whose cloud says what it has. It need not: then keys and what `check` looks for are all that is tried."""

    async def catalogue(self) -> Catalogue:
        """Say which regions and sizes there are, in the words of the file, and what it names that there is not. Raises ProviderFailed."""


@runtime_checkable
class LoggedVendor(Protocol):
    """A Vendor that can read what its machines have said. It need not: those that boot by cloud-init tell it themselves."""

    async def boot_log(self, found: ProviderMachine) -> Sequence[str]:
        """Give all lines that a machine has said until now, from its first; bounded. None: it has not begun. Raises ProviderFailed."""


class SnapshotStore(Protocol):
    """Snapshots at a cloud. Every call raises ProviderFailed."""

    async def switch_off(self, ref: str) -> None:
        """Turn a machine off, by its own shutting down if it does; returns when it is off."""

    async def take(self, ref: str, name: str) -> DiskSnapshot:
        """Take a snapshot of a machine that is off; returns when it can be used."""

    async def starting(self, prefix: str) -> Sequence[DiskSnapshot]:
        """All snapshots whose name begins so, those that cannot be used too."""

    async def delete(self, ref: str) -> None:
        """Delete one; one that is not there is deleted already."""

    async def price(self) -> StoragePrice:
        """Say what keeping one costs."""


@runtime_checkable
class SnapshotVendor(Protocol):
    """A Vendor whose cloud makes snapshots of machines, of which others can be made."""

    def snapshots(self) -> SnapshotStore:
        """Give them; the vendor is open."""


class Vendor(Protocol):
    """What differs. Every call raises ProviderFailed."""

    async def __aenter__(self) -> Self:
        """Open; most open nothing before it is needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what was opened."""

    async def check(self) -> None:
        """Ask for something that needs the keys, and for what the configuration names."""

    async def named(self, name: MachineId, ref: str = "") -> Sequence[ProviderMachine]:
        """All that has exactly this name, and what has this id, machines before what belongs to them, the oldest first.

        An id is looked up by itself where the list does not show it, whatever it is called there.
        """

    async def starting(self, prefix: str) -> Sequence[ProviderMachine]:
        """All whose name begins so."""

    async def begin(self, order: Order) -> ProviderMachine:
        """Create it. Where it failed and something is there, the failure has its id (`ref`)."""

    async def resume(self, order: Order, found: ProviderMachine) -> ProviderMachine:
        """Go on with one that exists; where creating is one call, nothing is left to do."""
        _ = order
        return found

    async def remove(self, found: ProviderMachine) -> None:
        """Ask for its removal."""

    def described(self, order: Order) -> str:
        """Say in one line how it would be created, secrets masked."""


@dataclass(frozen=True, kw_only=True)
class VendorContext:
    """What a vendor is made of."""

    settings: Any
    """What its kind has read of the file (`VendorKind.read`)."""
    regions: tuple[str, ...] = ("",)
    """All that the file names, in the order in which they are tried: machines are looked for in each of them."""
    timeouts: StepTimeouts = field(default_factory=StepTimeouts)
    folder: Path = Path()
    """A private folder of this computer, for what must outlive the process (lock files, not secrets)."""
    environment: Mapping[str, str] = field(default_factory=dict)
    answer_s: float = 30.0
    """How long one call may take."""


class VendorKind(Protocol):
    """What an entry point of the group `clusterodm.providers` names: usually the class of the vendor."""

    @staticmethod
    def read(keys: ObjectReader) -> Any:
        """Read its own keys of the file; mistakes stay with the reader. It opens nothing and calls nobody."""

    @classmethod
    def make(cls, context: VendorContext) -> Vendor:
        """Make a vendor; it is opened before it is asked anything. Raises Refused for settings that cannot work."""
