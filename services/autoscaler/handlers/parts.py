"""Everything that the handlers of one autoscaler share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from libs.common.clocks import Clock
from libs.common.ports import Bus
from services.autoscaler.core.configuration import Configuration
from services.autoscaler.handlers.asking import Asking
from services.autoscaler.handlers.cluster import Cluster
from services.autoscaler.handlers.keeping import Keeping
from services.autoscaler.handlers.ordering import Ordering
from services.autoscaler.handlers.records import Records
from services.autoscaler.handlers.tasks import Tasks
from services.autoscaler.handlers.voice import Voice
from services.autoscaler.ports import NodeProbe, Provider, Sleep

FIRST_RETRY_S: Final = 2.0


def always() -> bool:
    """Say that there is no other autoscaler."""
    return True


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts."""

    configuration: Configuration
    bus: Bus
    clock: Clock
    provider: Provider
    records: Records
    cluster: Cluster
    tasks: Tasks
    keeping: Keeping
    ordering: Ordering
    asking: Asking
    voice: Voice
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be something to decide."""
    compared: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the records have been compared with the provider's list, or could not be: what is there is known by then."""
    in_office: Callable[[], bool] = always
    """Whether this autoscaler is the one that decides."""
    epoch: int = 0
    """Its term."""
    first_retry_s: float = FIRST_RETRY_S
    sleep: Sleep = asyncio.sleep

    @classmethod
    async def open(  # noqa: PLR0913 the world, piece by piece
        cls,
        *,
        configuration: Configuration,
        bus: Bus,
        clock: Clock,
        provider: Provider,
        probe: NodeProbe,
        keeping: Keeping,
        public_url: str,
        in_office: Callable[[], bool] = always,
        epoch: int = 0,
        first_retry_s: float = FIRST_RETRY_S,
        sleep: Sleep = asyncio.sleep,
    ) -> "Parts":
        """Open the buckets and read the records."""
        news = asyncio.Event()
        await keeping.learn()
        records, ordering = await Records.open(bus), Ordering(configuration, keeping, public_url)
        cluster = await Cluster.open(bus)
        return cls(
            configuration=configuration,
            bus=bus,
            clock=clock,
            provider=provider,
            records=records,
            cluster=cluster,
            tasks=await Tasks.open(bus, news.set),
            keeping=keeping,
            ordering=ordering,
            asking=Asking(probe, provider, ordering, records, cluster, clock, sleep),
            voice=Voice(bus, clock),
            news=news,
            in_office=in_office,
            epoch=epoch,
            first_retry_s=first_retry_s,
            sleep=sleep,
        )
