"""What the autoscaler needs from the world.

A provider does one thing at a time and remembers nothing: what is wanted and what was done lies in the machines' records.
Every call may be made again after a crash, so `create`, `set_up` and `destroy` are idempotent by name. Whatever goes wrong
is a `ProviderFailed` whose `trouble` says what it means for the next try (libs.common.errors.Trouble); its message holds no
secret. Every call has a time limit of its own; cancelling one leaves nothing half-known, because the record says that it
was under way and the next start asks `inspect`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from libs.common.model import Machine, MachineId, NodeInfo
from services.autoscaler.core.configuration import Configuration
from services.autoscaler.core.identities import Identities
from services.autoscaler.core.orders import Found, Order

Sleep = Callable[[float], Awaitable[None]]
"""Waits for so many seconds."""


class ConfigurationSource(Protocol):
    """Where the configuration comes from."""

    async def read(self) -> Configuration | None:
        """Read and check it; None when there is none. Raises Refused with a line per mistake."""
        ...


class Provider(Protocol):
    """Somebody who rents out machines."""

    async def check(self) -> None:
        """Find out at the start whether it can work at all (program found, keys accepted). Raises Refused."""
        ...

    async def create(self, order: Order) -> Found:
        """Create the machine, or go on with the one of this name that a call before a crash has left.

        Returns when the provider has it; its address may still be empty. Raises ProviderFailed: its `trouble` is that of
        the creation, whatever became of cleaning up; `leaves` says whether something may be there, and without it nothing is.
        """
        ...

    async def set_up(self, order: Order, found: Found) -> Found:
        """Do what it takes until the node is starting on the machine; the machine with its address.

        Nothing to do for providers that boot by user data but to wait for the address. Raises ProviderFailed.
        """
        ...

    async def inspect(self, name: MachineId, ref: str = "") -> Found | None:
        """Look one machine up, by its name and by its id if that is known; None: none was found. Raises ProviderFailed."""
        ...

    async def list(self, prefix: str) -> Sequence[Found]:
        """All machines whose name begins so, in every region, whatever state they are in. Raises ProviderFailed."""
        ...

    async def destroy(self, name: MachineId, ref: str) -> bool:
        """Destroy all of this name, and all that was made for it; whether there was anything.

        Returns when the provider confirms that nothing is left: a look that is newer than the deletion, or, where nothing
        was found to delete, two looks that do not depend on each other. Raises ProviderFailed: to be called again.
        """
        ...

    async def discard(self, found: Found) -> None:
        """Remove this one thing, whatever else has its name. Raises ProviderFailed."""
        ...

    async def command(self, order: Order) -> str:
        """Say in one line what would be done to create such a machine, secrets masked. Raises ProviderFailed."""
        ...


class IdentityStore(Protocol):
    """A place of our own where the ids and keys of our machines are kept besides NATS."""

    def read(self) -> Identities | None:
        """Read them; None when there are none. Raises Refused when they cannot be read."""
        ...

    def write(self, identities: Identities) -> None:
        """Replace them, durably. Raises Refused."""
        ...


class Storage(Protocol):
    """Where results are kept."""

    async def check(self) -> None:
        """Write a small file. Raises Refused when that does not work."""
        ...

    async def public_url(self, key: str) -> str | None:
        """Give the address of a file that everybody may read; None when there is none. Raises ProviderFailed."""
        ...

    async def signed_url(self, key: str, *, head: bool) -> str | None:
        """Give an address that is good for a short while; None when there is no such file. Raises ProviderFailed."""
        ...


class NodeProbe(Protocol):
    """Asks the node on a machine whether it is there."""

    async def info(self, machine: Machine, token: str) -> NodeInfo | None:
        """Ask how it is; None while it does not answer to this token."""
        ...
