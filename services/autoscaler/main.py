"""Wires the autoscaler, and does nothing else."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from clusterodm.libs.common.bus.bus import connected
from clusterodm.libs.common.bus.incarnation import incarnation, log_not_read
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.exit_codes import EXIT_REFUSED
from clusterodm.libs.common.health.health import (
    CHECK_EVERY_S,
    Health,
    NeededServices,
    lead_in_turn,
    reported_as_standby,
)
from clusterodm.libs.common.health.vitals import health_listener, measured, metrics_listener
from clusterodm.libs.common.messages.buckets import MACHINES
from clusterodm.libs.common.messages.health import AUTOSCALER_HEALTH, SCHEDULER_HEALTH
from clusterodm.libs.common.nodeodm.client import NodeClient
from clusterodm.libs.common.ports import Bus, Term
from clusterodm.libs.common.process.lifecycle import SystemClock, now_ms, run
from clusterodm.libs.common.process.loops import background, every
from clusterodm.libs.common.process.watchdog import notify_ready, with_watchdog
from clusterodm.libs.common.settings.settings import parse
from clusterodm.libs.common.telemetry.log import begin
from clusterodm.libs.common.telemetry.metrics import read_by
from clusterodm.services.autoscaler.assembly import assembled
from clusterodm.services.autoscaler.commands import NotConfigured
from clusterodm.services.autoscaler.config.adapters import read_file
from clusterodm.services.autoscaler.config.core.configuration import Configuration, fleeting
from clusterodm.services.autoscaler.identity.adapters import IdentityFile
from clusterodm.services.autoscaler.identity.handlers import ClusterIdentity
from clusterodm.services.autoscaler.leadership import while_nobody_leads
from clusterodm.services.autoscaler.machines.adapters import NodeODMProbe
from clusterodm.services.autoscaler.machines.handlers.reconciler import interval_s
from clusterodm.services.autoscaler.providers.adapters.kinds import VendorKinds
from clusterodm.services.autoscaler.providers.adapters.selection import providers_of
from clusterodm.services.autoscaler.providers.handlers import ProviderRegistry
from clusterodm.services.autoscaler.providers.ports import Provider
from clusterodm.services.autoscaler.readings import readings
from clusterodm.services.autoscaler.results.adapters import S3Storage
from clusterodm.services.autoscaler.results.handlers import ResultFinder
from clusterodm.services.autoscaler.server import SERVICE, registered, registered_without
from clusterodm.services.autoscaler.settings import AutoscalerSettings

ORIGINAL_NAMES: Final = {"digitalocean": "DigitalOcean", "aws": "AWS"}
PROG: Final = f"clusterodm {SERVICE}"
LOCKS: Final = "machines"

log = structlog.get_logger()


def main(argv: Sequence[str]) -> int:
    """Run the autoscaler until it is told to stop; the exit code."""
    settings = parse(AutoscalerSettings, argv, PROG)
    begin(SERVICE, settings)
    return run(with_watchdog(serve(settings)), PROG, stop_within_s=settings.stop_timeout_s, refused_code=EXIT_REFUSED)


async def serve(settings: AutoscalerSettings) -> None:
    """Wire the autoscaler and serve until cancelled."""
    with refusing():
        configuration = await read_file(settings.asr, VendorKinds())
    directory = IdentityFile(settings.data_dir)
    async with reachable(settings, leads=configuration is not None) as (bus, health), AsyncExitStack() as stack:
        if configuration is None:
            await without(bus, health, settings)
            return
        folder, cross_check = settings.data_dir / LOCKS, settings.asr_cross_check
        opened = providers_of(configuration, folder, cross_check=cross_check, poll_s=settings.asr_poll_s)
        providers = ProviderRegistry(await stack.enter_async_context(opened))
        with refusing():
            await checked(configuration.parts, providers, settings)
        if not settings.public_address:
            log.warning("machines report nothing themselves: set --public-address to their way to the proxy")
        if await incarnation(bus, SystemClock().wall_ms, wait_s=settings.nats_wait_s) is None:
            log_not_read()
        with refusing():
            identity = await ClusterIdentity.open(bus, directory)  # a standby, too, has to know
        await stack.enter_async_context(background(identity.watch, "follow ids"))
        await stack.enter_async_context(reported_as_standby(bus, health))
        standby = Standby(bus, configuration, providers, identity, settings, health)
        await lead_in_turn(bus, SERVICE, lambda term: lead(standby, term))


@contextmanager
def refusing() -> Iterator[None]:
    """Refuse in the original's words, every line."""
    try:
        yield
    except Refused as error:
        lines = (f"Cannot initialize ASR: {line}" for line in error.message.splitlines())
        raise Refused("\n".join(lines)) from None


@asynccontextmanager
async def reachable(settings: AutoscalerSettings, *, leads: bool) -> AsyncIterator[tuple[Bus, Health]]:
    """Connect to NATS, and say how this process is, while the context is open."""
    async with AsyncExitStack() as stack:
        health_port = stack.enter_context(health_listener(settings))
        metrics_port = stack.enter_context(metrics_listener(settings))
        bus = await stack.enter_async_context(connected(settings, SERVICE))
        leader = {"leader": AUTOSCALER_HEALTH} if leads else {}
        needed = NeededServices(bus, {"scheduler": SCHEDULER_HEALTH, **leader})
        health = Health(SERVICE, lambda: {"bus": bus.connected}, needed, may_lead=leads)
        await stack.enter_async_context(measured(bus, health, settings, metrics_port, health_port))
        await stack.enter_async_context(
            background(lambda: every(CHECK_EVERY_S, needed.check, "ask services"), "ask services")
        )
        yield bus, health


async def without(bus: Bus, health: Health, settings: AutoscalerSettings) -> None:
    """Answer for ever that there is no autoscaler, unless there is another."""
    await bus.bucket(MACHINES)  # others read it, and its replicas are its writer's to see to
    async with (
        while_nobody_leads(bus, SERVICE) as no_leader,
        registered_without(bus, NotConfigured(), health, no_leader, settings),
    ):
        log.info("autoscaler.started", provider="none")
        notify_ready()
        await asyncio.Event().wait()


async def checked(
    parts: Mapping[str, Configuration], providers: Mapping[str, Provider], settings: AutoscalerSettings
) -> None:
    """Try at once what would fail later. Raises Refused where there is no provider to be had.

    Of several, one that cannot be had keeps nobody from renting at the others: it is said, and asked again beside the work.
    """
    refusals: list[str] = []
    for name, part in parts.items():
        await check_storage(part, settings)
        try:
            await providers[name].check()
        except Refused as error:
            refusals.append(error.message)
            if len(parts) > 1:
                log.warning("provider.not_to_be_had", provider=name, reason=error.message)
        if part.node.s3 is None:
            log.warning(fleeting(part))
    if len(refusals) == len(parts):
        raise Refused("\n".join(refusals))


async def check_storage(part: Configuration, settings: AutoscalerSettings) -> None:
    """Say whose part it is and what is to be noted of it, and try its bucket. Raises Refused."""
    log.info(original_words(part.provider))
    for note in part.notes:
        log.warning("asr_file.noted", note=note)
    if part.node.s3 and settings.asr_check_storage:
        await S3Storage(part.node.s3).check()


def original_words(provider: str) -> str:
    """Say which provider it is as ClusterODM 1.5 does; scripts look for this line."""
    return f"ASR: {ORIGINAL_NAMES.get(provider, provider.capitalize())}AsrProvider"


@dataclass(frozen=True)
class Standby:
    """What is opened once and serves every term."""

    bus: Bus
    configuration: Configuration
    providers: ProviderRegistry
    identity: ClusterIdentity
    settings: AutoscalerSettings
    health: Health


async def lead(standby: Standby, term: Term) -> None:
    """Act until the term is over. Raises BusFailed when NATS goes before it has begun."""
    configuration, settings = standby.configuration, standby.settings
    async with NodeClient(keep_alive_s=settings.probe_keep_alive_timeout_s) as client, AsyncExitStack() as stack:
        autoscaler = await assembled(
            configuration=configuration,
            bus=standby.bus,
            clock=SystemClock(),
            providers=standby.providers,
            probe=NodeODMProbe(client),
            identity=standby.identity,
            public_url=settings.public_address,
            term=term,
        )
        stack.enter_context(standby.health.leading(term))
        stack.enter_context(read_by(lambda: readings(autoscaler.observed(configuration), now_ms())))
        compare_s = interval_s(settings.asr_reconcile_s, spot=any(size.spot for size in configuration.limits.sizes))
        await stack.enter_async_context(autoscaler.at_work(compare_s, settings.asr_every_s))
        targets = dict.fromkeys(part.node.s3 for part in configuration.parts.values() if part.node.s3)
        results = ResultFinder(configuration.downloads, [(target, S3Storage(target)) for target in targets])
        await stack.enter_async_context(
            registered(standby.bus, autoscaler.answering(results), standby.health, term, settings)
        )
        log.info("autoscaler.started", provider=configuration.provider, mode=configuration.mode, epoch=term.epoch)
        await standby.health.check()
        await term.over()
