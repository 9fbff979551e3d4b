"""`clusterodm copy-nats`: everything of one NATS into another, for example of a single server into a cluster of three.

The one may be the data directory of a `clusterodm up` that is stopped: its nats-server runs for as long as the copying takes, and the
directory is locked meanwhile, so that no `up` begins on it.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from clusterodm.deploy import children, datadir, nats
from clusterodm.deploy.checks import free_port
from clusterodm.libs.common.bus.connection import open_client
from clusterodm.libs.common.bus.copying import copy_all
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.exit_codes import EXIT_FAILED
from clusterodm.libs.common.process.lifecycle import run
from clusterodm.libs.common.settings.addresses import nats_servers
from clusterodm.libs.common.settings.fields import Field
from clusterodm.libs.common.settings.settings import CommonSettings, parse
from clusterodm.libs.common.telemetry.log import begin

PROG: Final = "clusterodm copy-nats"


def is_data_dir(text: str) -> bool:
    """Whether there is a directory with a store of NATS in it. Raises Refused where that cannot be seen."""
    if "://" in text:
        return False
    try:
        return (Path(text) / "nats").is_dir()
    except OSError as error:
        raise Refused(f"--nats-from: data directory {text}: {error.strerror}") from None


def readable(text: str) -> None:
    """See that records may be read from there. Raises ValueError, without repeating it, and Refused."""
    if not is_data_dir(text):
        try:
            nats_servers(text)
        except ValueError as error:
            raise ValueError(f"is no data directory of a clusterodm up; a server {error}") from None


class CopySettings(CommonSettings):
    """Copies all records of one NATS into another that is empty. Addresses may hold a password, which then belongs into the environment (`CLUSTERODM_...`)."""

    nats_from: str = Field(
        check=readable,
        description="NATS server to copy from, where nobody may write meanwhile; or the data directory of a clusterodm up that is stopped",
    )


def main(argv: Sequence[str]) -> int:
    """Copy; the exit code."""
    try:
        settings = parse(CopySettings, argv, PROG)
        begin("copy-nats", settings)
        with served(settings.nats_from) as source:
            return run(copied(source, settings), PROG)
    except Refused as error:
        print(f"{PROG}: {error.message}", file=sys.stderr)  # noqa: T201 for the person who started it
        return EXIT_FAILED


@contextmanager
def served(nats_from: str) -> Iterator[str]:
    """Say at which URL the records are read; what lies in a data directory is served meanwhile. Raises Refused."""
    if not is_data_dir(nats_from):
        yield nats_from
        return
    folder = Path(nats_from)
    with datadir.locked(folder) as lock:
        process, users = nats.process(folder / "nats", free_port, watchdog_s=0)
        server = children.fork(process.recipe, lock)
        try:
            yield users[nats.OPERATOR]
        finally:
            os.kill(server.pid, signal.SIGTERM)
            os.waitpid(server.pid, 0)
            os.close(server.output)


async def copied(nats_from: str, settings: CopySettings) -> None:
    """Copy from the one to the other."""
    source = await open_client(nats_from, PROG, settings.nats_wait_s)
    try:
        target = await open_client(settings.nats_url, PROG, settings.nats_wait_s)
        try:
            counts = await copy_all(source, target, settings.nats_replicas_count, settings.nats_wait_s)
        finally:
            await target.close()
    finally:
        await source.close()
    sys.stdout.write("".join(f"{name}: {count}\n" for name, count in counts.items()))
