"""What outlives every machine: which ids and keys are ours, and whether the autoscaler is paused.

It lies in two buckets of the autoscaler's own, `autoscaler` and, apart, so that nobody else needs to be allowed to read the
keys, `autoscaler-secrets`; and the ids and keys once more in a directory of every computer that runs an autoscaler, a standby
too (core.py says why). Each place learns what the other knows: at the start, and whenever the bucket changes.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol, TypeVar

import msgspec
import structlog

from clusterodm.libs.common.errors import Conflict, Refused, Unreadable
from clusterodm.libs.common.messages.buckets import CLUSTER, INCARNATION_KEY
from clusterodm.libs.common.messages.kinds import BucketName
from clusterodm.libs.common.model.cluster import Incarnation
from clusterodm.libs.common.model.values import Frozen, IncarnationId, MachineId
from clusterodm.libs.common.ports import Bucket, Bus, Change, Entry, Reset
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.identity.core import (
    ALPHABET,
    Identities,
    Identity,
    cluster_id_in,
    merged,
    noted,
    prefix,
    with_ids,
)

log = structlog.get_logger()

Fact = TypeVar("Fact")
ID_LENGTH: Final = 6
KEY: Final = "cluster"


class IdentityStore(Protocol):
    """A place of our own where the ids and keys of our machines are kept besides NATS."""

    def read(self) -> Identities | None:
        """Read them; None when there are none. Raises Refused when they cannot be read."""

    def write(self, identities: Identities) -> None:
        """Replace them, durably. Raises Refused."""


class AutoscalerFacts(Frozen, frozen=True, kw_only=True):
    """The autoscaler's own facts."""

    cluster_id: str
    """In the names of all new machines."""
    paused: bool = False
    paused_because: str = ""
    former_ids: tuple[str, ...] = ()
    """In the names of machines of earlier stores."""


class MachineKeys(Frozen, frozen=True, kw_only=True):
    """The keys of all machines' secrets."""

    key: str
    former: dict[str, str] = msgspec.field(default_factory=dict)
    """By the ids of earlier stores."""

    def __repr__(self) -> str:
        """Show nothing."""
        return "MachineKeys(***)"


FACTS: Final = BucketName("autoscaler", AutoscalerFacts, writer="autoscaler")
KEYS: Final = BucketName("autoscaler-secrets", MachineKeys, writer="autoscaler")


def random_text(length: int) -> str:
    """Make a random text that can stand in a host name."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


class ClusterIdentity:
    """The facts, and the door to change them."""

    def __init__(
        self,
        bucket: Bucket[AutoscalerFacts],
        keys: Bucket[MachineKeys],
        cluster: Bucket[Incarnation],
        store: IdentityStore,
    ) -> None:
        self._bucket = bucket
        self._keys = keys
        self._cluster = cluster
        self._store = store
        self._entry = Entry(KEY, AutoscalerFacts(cluster_id=""), 0)
        self._identities = Identities(known=())

    @classmethod
    async def open(
        cls, bus: Bus, store: IdentityStore, random: Callable[[int], str] = random_text
    ) -> "ClusterIdentity":
        """Read the facts, or make them. Raises Refused when the directory cannot be read."""
        identity = cls(await bus.bucket(FACTS), await bus.bucket(KEYS), await bus.bucket(CLUSTER), store)
        await identity.learn(random)
        return identity

    async def learn(self, random: Callable[[int], str] = random_text, named: Iterable[str] = ()) -> None:
        """Bring together what the buckets and the directory know, and write it to whichever lacks some.

        `named`: ids in the names of machines that somebody else knows of.
        """
        here = self._store.read()
        while True:
            try:
                entry, keys = await self._stored(here, random)
                identities = identities_of(entry.value, keys.value)
                known = with_ids(merged(identities, here) if here else identities, named)
                if known != identities:
                    entry, keys = await self._complete(known, entry, keys)
                break
            except Conflict:
                continue
        self._entry, self._identities = entry, known
        seen = await self._noted(known, here.incarnations if here else ())
        if seen != here:
            self._remember(seen)

    async def learn_from(self, machines: Iterable[MachineId]) -> None:
        """Learn the ids of machines that nodes and tasks name: they are ours, whatever else of them is lost."""
        named = {found for machine in machines if (found := cluster_id_in(machine))} - {*self.cluster_ids}
        if named:
            log.warning("machines.unknown_ids_adopted", cluster_ids=sorted(named))
            await self.learn(named=named)

    async def watch(self) -> None:
        """Learn whenever another autoscaler has learned something, for ever."""
        async with self._bucket.watch() as changes:
            async for change in changes:
                if isinstance(change, Reset) or (isinstance(change, Change) and change.value != self.facts):
                    await self.learn()

    @property
    def facts(self) -> AutoscalerFacts:
        """What is kept."""
        return self._entry.value

    @property
    def cluster_ids(self) -> tuple[str, ...]:
        """All ids that were ever ours, the one in use first."""
        return self._identities.cluster_ids

    @property
    def key(self) -> Secret:
        """The key in use."""
        return Secret(self._identities.current.key)

    def key_of(self, machine: MachineId) -> Secret:
        """Give the key of which a machine's secrets are derived; an empty one where it is lost."""
        found = (each.key for each in self._identities.known if machine.startswith(prefix(each.cluster_id)))
        return Secret(next(found, self._identities.current.key))

    @property
    def paused(self) -> str:
        """Why no machine is started; empty when they are."""
        if not self.facts.paused:
            return ""
        return f"the autoscaler is paused{f': {self.facts.paused_because}' if self.facts.paused_because else ''}"

    async def pause(self, because: str) -> None:
        """Start no more machines."""
        await self._change(paused=True, paused_because=because)

    async def resume(self) -> None:
        """Start machines again."""
        await self._change(paused=False, paused_because="")

    async def _change(self, *, paused: bool, paused_because: str) -> None:
        while True:
            facts = msgspec.structs.replace(self.facts, paused=paused, paused_because=paused_because)
            try:
                self._entry = Entry(KEY, facts, await self._bucket.update(KEY, facts, self._entry.revision))
            except Conflict:
                await self.learn()
            else:
                return

    async def _stored(
        self, here: Identities | None, random: Callable[[int], str]
    ) -> tuple[Entry[AutoscalerFacts], Entry[MachineKeys]]:
        """Read both buckets; what one lacks is made of what the directory knows."""
        first = here.current if here else Identity(cluster_id=random(ID_LENGTH), key="")
        entry = await made_once(self._bucket, AutoscalerFacts(cluster_id=first.cluster_id))
        known = {each.cluster_id: each.key for each in here.known} if here else {}
        key = known.get(entry.value.cluster_id) or secrets.token_hex(32)
        return entry, await made_once(self._keys, MachineKeys(key=key))

    async def _complete(
        self, known: Identities, entry: Entry[AutoscalerFacts], keys: Entry[MachineKeys]
    ) -> tuple[Entry[AutoscalerFacts], Entry[MachineKeys]]:
        """Write what the directory knows and the buckets do not. Raises Conflict."""
        former = known.known[1:]
        key = MachineKeys(key=known.current.key, former={each.cluster_id: each.key for each in former})
        facts = msgspec.structs.replace(entry.value, former_ids=tuple(each.cluster_id for each in former))
        log.warning("machines.earlier_ids_included", cluster_ids=list(facts.former_ids))
        if key != keys.value:
            keys = Entry(KEY, key, await self._keys.update(KEY, key, keys.revision))
        if facts != entry.value:
            entry = Entry(KEY, facts, await self._bucket.update(KEY, facts, entry.revision))
        return entry, keys

    async def _noted(self, known: Identities, before: Sequence[IncarnationId]) -> Identities:
        """Note with which store this directory is used; whoever makes the incarnation does so at its own start."""
        present = await self._present()
        if before and present is not None and present not in before:
            log.warning("machines.earlier_stores_adopted", cluster_ids=list(known.cluster_ids))
        return msgspec.structs.replace(known, incarnations=noted(before, present))

    async def _present(self) -> IncarnationId | None:
        with suppress(Unreadable):  # it has been said, and nothing follows from it
            entry = await self._cluster.get(INCARNATION_KEY)
            return entry.value.id if entry else None
        return None

    def _remember(self, known: Identities) -> None:
        """Write the directory. That it cannot be written now is said, and stops nothing: the buckets have it all."""
        try:
            self._store.write(known)
        except Refused as error:
            log.warning("identity.kept_in_nats_alone", reason=error.message)


def identities_of(kept: AutoscalerFacts, key: MachineKeys) -> Identities:
    """Read what the buckets know."""
    former = (Identity(cluster_id=each, key=key.former.get(each, "")) for each in kept.former_ids)
    return Identities(known=(Identity(cluster_id=kept.cluster_id, key=key.key), *former))


async def made_once(bucket: Bucket[Fact], first: Fact) -> Entry[Fact]:
    """Read the one value of a bucket, or write the first."""
    while True:
        if entry := await bucket.get(KEY):
            return entry
        try:
            await bucket.create(KEY, first)
        except Conflict:
            continue
