"""What outlives every machine, in two buckets of the autoscaler's own.

`autoscaler` holds the cluster's id and whether it is paused; `autoscaler-secrets` holds the key of which every machine's
secrets are derived, apart, so that nobody else needs to be allowed to read it. Both are made once, by whoever comes first.
"""

import secrets
from collections.abc import Callable
from typing import Final, TypeVar

from libs.common.errors import Conflict
from libs.common.messages import BucketName
from libs.common.model import Frozen
from libs.common.ports import Bucket, Bus, Entry
from services.autoscaler.core.names import ALPHABET
from services.autoscaler.core.secrets import Secret

Fact = TypeVar("Fact")
ID_LENGTH: Final = 6
KEY: Final = "cluster"


class Kept(Frozen, frozen=True, kw_only=True):
    """The autoscaler's own facts."""

    cluster_id: str
    paused: bool = False
    paused_because: str = ""


class Key(Frozen, frozen=True, kw_only=True):
    """The key of all machines' secrets."""

    key: str

    def __repr__(self) -> str:
        """Show nothing."""
        return "Key(***)"


KEPT: Final = BucketName("autoscaler", Kept, writer="autoscaler")
KEYS: Final = BucketName("autoscaler-secrets", Key, writer="autoscaler")


def random_text(length: int) -> str:
    """Make a random text that can stand in a host name."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


class Keeping:
    """The facts, and the door to change them."""

    def __init__(self, bucket: Bucket[Kept], entry: Entry[Kept], key: Secret) -> None:
        self._bucket = bucket
        self._entry = entry
        self.key = key

    @classmethod
    async def open(cls, bus: Bus, random: Callable[[int], str] = random_text) -> "Keeping":
        """Read the facts, or make them."""
        bucket = await bus.bucket(KEPT)
        entry = await made_once(bucket, Kept(cluster_id=random(ID_LENGTH)))
        key = await made_once(await bus.bucket(KEYS), Key(key=secrets.token_hex(32)))
        return cls(bucket, entry, Secret(key.value.key))

    @property
    def facts(self) -> Kept:
        """What is kept."""
        return self._entry.value

    @property
    def paused(self) -> str:
        """Why no machine is started; empty when they are."""
        if not self.facts.paused:
            return ""
        return f"the autoscaler is paused{f': {self.facts.paused_because}' if self.facts.paused_because else ''}"

    async def pause(self, because: str) -> None:
        """Start no more machines."""
        await self._write(Kept(cluster_id=self.facts.cluster_id, paused=True, paused_because=because))

    async def resume(self) -> None:
        """Start machines again."""
        await self._write(Kept(cluster_id=self.facts.cluster_id))

    async def _write(self, facts: Kept) -> None:
        revision = await self._bucket.put(KEY, facts)
        self._entry = Entry(KEY, facts, revision)


async def made_once(bucket: Bucket[Fact], first: Fact) -> Entry[Fact]:
    """Read the one value of a bucket, or write the first."""
    while True:
        if entry := await bucket.get(KEY):
            return entry
        try:
            await bucket.create(KEY, first)
        except Conflict:
            continue
