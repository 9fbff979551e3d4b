"""Wires the autoscaler, and does nothing else."""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import structlog

from libs.common.bus import connect
from libs.common.errors import BusFailed, Refused
from libs.common.health import ASK_EVERY_S, Health, NeededServices
from libs.common.health_port import health_listener, health_served
from libs.common.incarnation import incarnation
from libs.common.lifecycle import EXIT_REFUSED, SystemClock, run
from libs.common.log import configure
from libs.common.loops import background, every
from libs.common.messages import AUTOSCALER_HEALTH, MACHINES, SCHEDULER_HEALTH
from libs.common.nodeodm import NodeClient
from libs.common.ports import Bus, Term
from libs.common.settings import parse
from libs.common.watchdog import notify_ready, with_watchdog
from services.autoscaler.adapters.asr_file import AsrFile, check_file
from services.autoscaler.adapters.identity_file import IdentityFile
from services.autoscaler.adapters.node_probe import NodeODMProbe
from services.autoscaler.adapters.providers import provider_of
from services.autoscaler.adapters.s3 import Bucket
from services.autoscaler.api import SERVICE, served, served_without
from services.autoscaler.core.configuration import Configuration
from services.autoscaler.handlers.fleet import Fleet
from services.autoscaler.handlers.keeping import Keeping
from services.autoscaler.handlers.lives import Lives
from services.autoscaler.handlers.parts import Parts
from services.autoscaler.handlers.reconciling import Reconciler, interval_s
from services.autoscaler.handlers.results import Results
from services.autoscaler.handlers.vacancy import LOOK_EVERY_S, Vacancy
from services.autoscaler.handlers.words import NoWords, Words
from services.autoscaler.ports import ConfigurationSource, IdentityStore, Provider
from services.autoscaler.settings import AutoscalerSettings

EXIT_USAGE: Final = 2
PROG: Final = f"clusterodm {SERVICE}"
LOCKS: Final = "machines"
PLAN_LATE_S: Final = 300.0
"""A plan that takes so long hangs."""
STAND_BY_S: Final = 0.5
"""How long to wait before standing for the office again when NATS has just failed."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Wired:
    """What is opened once and serves every term."""

    bus: Bus
    configuration: Configuration
    provider: Provider
    keeping: Keeping
    settings: AutoscalerSettings
    health: Health


def main(argv: Sequence[str]) -> int:
    """Run the autoscaler until it is told to stop; the exit code."""
    settings = parse(AutoscalerSettings, argv, PROG)
    configure(SERVICE, settings.log_level, as_json=settings.log_json, debug=settings.debug)
    return run(with_watchdog(serve(settings)), PROG, stop_within_s=settings.stop_timeout_s, refused_code=EXIT_REFUSED)


def check(argv: Sequence[str]) -> int:
    """Look for mistakes in a configuration, without a cluster: a line for each; the exit code."""
    parser = argparse.ArgumentParser(
        prog="clusterodm asr check",
        description="Find the mistakes in an autoscaler's configuration, a line for each, without a cluster.",
        epilog="Exit codes: 0 no mistake, 2 mistakes or wrong usage. Keys and bucket are tried when the autoscaler starts.",
    )
    parser.add_argument("file", help="JSON file, as for --asr")
    try:
        found = check_file(parser.parse_args(argv).file, os.environ)
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except Refused as error:
        print(error.message, file=sys.stderr)  # noqa: T201 the program's output
        return EXIT_USAGE
    print(described(found))  # noqa: T201 the program's output
    return 0


def described(found: Configuration) -> str:
    """Say in a line what a configuration means."""
    sizes = ", ".join(f"{size.slug} up to {size.max_images} images" for size in found.limits.sizes)
    limit = "no limit" if found.limits.machines_count is None else f"at most {found.limits.machines_count}"
    bucket = f"results in {found.node.s3.bucket}" if found.node.s3 else fleeting(found)
    return f"no mistakes: {found.provider} by {found.mode}; {sizes}; {limit} machines; {bucket}"


def fleeting(found: Configuration) -> str:
    """Say how long results can be had that nobody but their machine has."""
    return f"results go with their machine, {found.limits.keep_results_s} s after its last task"


async def serve(settings: AutoscalerSettings) -> None:
    """Wire the autoscaler and serve until cancelled."""
    configuration = await configured(AsrFile(settings.asr))
    directory = IdentityFile(settings.data_dir)
    async with AsyncExitStack() as stack:
        health_port = stack.enter_context(health_listener(settings))
        bus = await stack.enter_async_context(
            connect(
                settings.nats_url, SERVICE, wait_s=settings.nats_wait_s, replicas_count=settings.nats_replicas_count
            )
        )
        leader = {} if configuration is None else {"leader": AUTOSCALER_HEALTH}
        needed = NeededServices(bus, {"scheduler": SCHEDULER_HEALTH, **leader})
        health = Health(SERVICE, lambda: {"bus": bus.connected}, needed)
        await stack.enter_async_context(health_served(health, health_port))
        await stack.enter_async_context(
            background(lambda: every(ASK_EVERY_S, needed.ask, "ask services"), "ask services")
        )
        if configuration is None:
            await without(stack, bus, health)
            return
        folder = settings.data_dir / LOCKS
        provider = await stack.enter_async_context(
            provider_of(configuration, folder, cross_check=settings.asr_cross_check, poll_s=settings.asr_poll_s)
        )
        await checked(configuration, provider, settings)
        await incarnation(bus, SystemClock().wall_ms, wait_s=settings.nats_wait_s)
        keeping = await known_ids(bus, directory)
        await stack.enter_async_context(background(keeping.follow, "follow ids"))
        while True:
            await in_office(Wired(bus, configuration, provider, keeping, settings, health))


async def known_ids(bus: Bus, directory: IdentityStore) -> Keeping:
    """Bring the directory and NATS together; a standby, too, has to know. Raises Refused, BusFailed."""
    try:
        return await Keeping.open(bus, directory)
    except Refused as error:
        raise cannot(error) from None


async def configured(source: ConfigurationSource) -> Configuration | None:
    """Read the configuration. Raises Refused in the original's words."""
    try:
        return await source.read()
    except Refused as error:
        raise cannot(error) from None


async def checked(configuration: Configuration, provider: Provider, settings: AutoscalerSettings) -> None:
    """Try at once what would fail later. Raises Refused in the original's words."""
    try:
        if configuration.node.s3 and settings.asr_check_storage:
            await Bucket(configuration.node.s3).check()
        await provider.check()
    except Refused as error:
        raise cannot(error) from None
    if configuration.node.s3 is None:
        log.warning(fleeting(configuration))
    if not settings.public_address:
        log.warning("machines report nothing themselves: set --public-address to their way to the proxy")


def cannot(error: Refused) -> Refused:
    """Say it in the original's words, every line."""
    return Refused("\n".join(f"Cannot initialize ASR: {line}" for line in error.message.splitlines()))


async def without(stack: AsyncExitStack, bus: Bus, health: Health) -> None:
    """Answer for ever that there is no autoscaler, unless there is another."""
    await bus.bucket(MACHINES)  # others read it, and its replicas are its writer's to see to
    vacancy = Vacancy(bus, SERVICE)
    await vacancy.look()
    await stack.enter_async_context(
        background(lambda: every(LOOK_EVERY_S, vacancy.look, "see who leads"), "see who leads")
    )
    await stack.enter_async_context(served_without(bus, NoWords(), health, vacancy))
    log.info("autoscaler is ready", provider="none")
    notify_ready()
    await asyncio.Event().wait()


async def in_office(wired: Wired) -> None:
    """Wait until no other autoscaler is in office, and act until the term is over."""
    log.info("standing by")
    notify_ready()
    try:
        async with wired.bus.lead(SERVICE, socket.gethostname()) as term:
            await lead(wired, term)
    except BusFailed as error:
        log.warning("out of office", reason=error.message)
        await asyncio.sleep(STAND_BY_S)


async def lead(wired: Wired, term: Term) -> None:
    """Act until the term is over. Raises BusFailed when NATS goes before it has begun."""
    configuration = wired.configuration
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(NodeClient())
        parts = await Parts.open(
            configuration=configuration,
            bus=wired.bus,
            clock=SystemClock(),
            provider=wired.provider,
            probe=NodeODMProbe(client),
            keeping=wired.keeping,
            public_url=wired.settings.public_address,
            in_office=lambda: term.valid,
            epoch=term.epoch,
        )
        await act(stack, parts, wired.settings, wired.health, term)
        log.info("autoscaler is ready", provider=configuration.provider, mode=configuration.mode, epoch=term.epoch)
        await wired.health.ask()
        await term.over()
        log.warning("out of office", epoch=term.epoch)


async def act(stack: AsyncExitStack, parts: Parts, settings: AutoscalerSettings, health: Health, term: Term) -> None:
    """Start everything: what was under way first, then the comparison with the provider, then the plans."""
    lives = await stack.enter_async_context(Lives(parts))
    fleet = Fleet(parts, lives)
    reconciler = Reconciler(parts, lives)
    compare_s = interval_s(settings.asr_reconcile_s, spot=parts.configuration.cloud.spot)
    storage = Bucket(parts.configuration.node.s3) if parts.configuration.node.s3 else None
    await stack.enter_async_context(background(parts.tasks.follow, "follow tasks"))
    lives.recover()
    await stack.enter_async_context(
        background(lambda: fleet.run(settings.asr_every_s), "plan machines", late_after_s=PLAN_LATE_S)
    )
    await stack.enter_async_context(
        background(lambda: every(compare_s, reconciler.check, "compare machines"), "compare machines")
    )
    words, results = Words(parts, lives, fleet), Results(parts.configuration, storage)
    await stack.enter_async_context(served(parts.bus, words, fleet, results, health, term))
