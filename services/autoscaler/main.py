"""Wires the autoscaler, and does nothing else."""

import asyncio
from collections.abc import Sequence

import structlog

from libs.common.bus import connect
from libs.common.errors import Refused
from libs.common.lifecycle import run
from libs.common.log import configure
from libs.common.settings import parse
from services.autoscaler.adapters.asr_file import AsrFile
from services.autoscaler.api import SERVICE, served
from services.autoscaler.core.configuration import Configuration
from services.autoscaler.handlers import Autoscaler
from services.autoscaler.ports import ConfigurationSource
from services.autoscaler.settings import AutoscalerSettings

PROG = f"clusterodm {SERVICE}"

log = structlog.get_logger()


def main(argv: Sequence[str]) -> int:
    """Run the autoscaler until it is told to stop; the exit code."""
    settings = parse(AutoscalerSettings, argv, PROG)
    configure(SERVICE, settings.log_level, as_json=settings.log_json, debug=settings.debug)
    return run(serve(settings), PROG)


async def serve(settings: AutoscalerSettings) -> None:
    """Wire the autoscaler and serve until cancelled."""
    configuration = await configured(AsrFile(settings.asr))
    async with (
        connect(
            settings.nats_url, SERVICE, wait_s=settings.nats_wait_s, replicas_count=settings.nats_replicas_count
        ) as bus,
        served(bus, Autoscaler(configuration)),
    ):
        log.info("autoscaler is ready")
        await asyncio.Event().wait()


async def configured(source: ConfigurationSource) -> Configuration | None:
    """Read the configuration and say what this version makes of it. Raises Refused in the original's words."""
    try:
        configuration = await source.read()
    except Refused as error:
        raise Refused(f"Cannot initialize ASR: {error.message}") from None
    if configuration:
        log.warning("asr file is valid, but this version starts no machines", provider=configuration.provider)
    return configuration
