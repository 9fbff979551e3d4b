"""What the proxies of one cluster know each other by: a random secret in KV `secrets`, made once by the first of them."""

import secrets
from contextlib import suppress
from typing import Final

from libs.common.errors import BusFailed, Conflict
from libs.common.messages import SECRETS, SUMMARY_KEY
from libs.common.model import Secret
from libs.common.patience import patiently
from libs.common.ports import Bucket, Bus

LENGTH_BYTES: Final = 32


class SharedSecret:
    """The secret as one proxy knows it; it outlives a store that is lost."""

    def __init__(self, bus: Bus, value: str) -> None:
        self._bus = bus
        self.value = value

    def __repr__(self) -> str:
        """Show nothing of it."""
        return "SharedSecret(***)"

    async def renew(self) -> None:
        """Write it into a store that has none, or take over what another proxy has written there. Raises BusFailed."""
        bucket = await self._bus.bucket(SECRETS)
        with suppress(Conflict):
            await bucket.create(SUMMARY_KEY, Secret(value=self.value))
        self.value = await read_or_made(bucket)


async def shared_secret(bus: Bus, wait_s: float = 0.0) -> str:
    """Read the cluster's secret, or make it, as soon as NATS can. Raises BusFailed."""
    bucket = await bus.bucket(SECRETS)
    return await patiently(lambda: read_or_made(bucket), "the secret of the cluster is known", wait_s)


async def read_or_made(bucket: Bucket[Secret]) -> str:
    """Read the secret, or make it. Raises BusFailed."""
    try:
        if not await bucket.get(SUMMARY_KEY):
            await bucket.create(SUMMARY_KEY, Secret(value=secrets.token_hex(LENGTH_BYTES)))
    except Conflict:
        pass
    entry = await bucket.get(SUMMARY_KEY)
    if entry is None:
        raise BusFailed("the secret of the cluster has disappeared")
    return entry.value.value
