"""Announces this proxy with its spool (KV `proxies`): should it not come back, the scheduler can say which directory is missing.

The announcement outlives the proxy, by months and not for ever: each one that runs announces itself again when it is not there.
"""

from typing import Final

from libs.common.messages import PROXIES
from libs.common.model import Proxy
from libs.common.ports import Bus

KEPT_S: Final = 90 * 24 * 3600


class Presence:
    """The announcement of one proxy. `announce` is called every now and then."""

    def __init__(self, bus: Bus, proxy: Proxy) -> None:
        self._bus = bus
        self._proxy = proxy

    async def announce(self) -> None:
        """Put it up if it is not there. Raises BusFailed."""
        bucket = await self._bus.bucket(PROXIES)
        found = await bucket.get(self._proxy.instance)
        if found is None or found.value != self._proxy:
            await bucket.put(self._proxy.instance, self._proxy, ttl_s=KEPT_S)
