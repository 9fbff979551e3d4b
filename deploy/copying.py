"""`clusterodm copy-nats`: everything of one NATS into another, for example of a single server into a cluster of three."""

import sys
from collections.abc import Sequence
from typing import Final

from clusterodm.libs.common.bus.connection import open_client
from clusterodm.libs.common.bus.copying import copy_all
from clusterodm.libs.common.process.lifecycle import run
from clusterodm.libs.common.settings.fields import Field
from clusterodm.libs.common.settings.settings import CommonSettings, parse
from clusterodm.libs.common.telemetry.log import configure

PROG: Final = "clusterodm copy-nats"


class CopySettings(CommonSettings):
    """Flags and environment (`CLUSTERODM_...`); addresses may hold a token, which then belongs into the environment."""

    nats_from: str = Field(description="NATS server to copy from; nobody may write there meanwhile")


def main(argv: Sequence[str]) -> int:
    """Copy; the exit code."""
    settings = parse(CopySettings, argv, PROG)
    configure("copy-nats", settings.log_level, as_json=settings.logs_json, debug=settings.debug)
    return run(copied(settings), PROG)


async def copied(settings: CopySettings) -> None:
    """Copy from the one to the other."""
    source = await open_client(settings.nats_from, PROG, settings.nats_wait_s)
    try:
        target = await open_client(settings.nats_url, PROG, settings.nats_wait_s)
        try:
            counts = await copy_all(source, target, settings.nats_replicas_count)
        finally:
            await target.close()
    finally:
        await source.close()
    sys.stdout.write("".join(f"{name}: {count}\n" for name, count in counts.items()))
