"""`clusterodm asr check`: finds the mistakes in a configuration, without a cluster; with `--online` by asking the provider as well.

`clusterodm asr plan --asr FILE`: shows what a configuration would do.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from clusterodm.libs.common.errors import ProviderFailed, Refused
from clusterodm.libs.common.messages.machines import imagined
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.services.autoscaler.config.adapters import check_file, demand_text
from clusterodm.services.autoscaler.config.core.configuration import DOCKER_MACHINE, Configuration, described
from clusterodm.services.autoscaler.planning.core.preview import planned_alone
from clusterodm.services.autoscaler.providers.adapters.booted import POLL_S
from clusterodm.services.autoscaler.providers.adapters.kinds import VendorKinds
from clusterodm.services.autoscaler.providers.adapters.online_check import OnlineCheck
from clusterodm.services.autoscaler.providers.adapters.selection import api_provider, provider_of
from clusterodm.services.autoscaler.results.adapters import S3Storage, StorageSilent

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
ONLINE_LIMIT_S: Final = 60.0


def check(argv: Sequence[str]) -> int:
    """Look for mistakes in a configuration, without a cluster: a line for each; the exit code."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="clusterodm asr check",
        description="Find the mistakes in an autoscaler's configuration, a line for each, without a cluster.",
        epilog="Exit codes: 0 no mistake, 1 somebody did not answer (--online), 2 mistakes or wrong usage. "
        "Without --online keys and bucket are tried when it starts.",
    )
    parser.add_argument("file", help="JSON file, as for --asr")
    parser.add_argument(
        "--online", action="store_true", help="try the keys, what the file names and the bucket as well"
    )
    try:
        asked = parser.parse_args(argv)
        found = check_file(asked.file, os.environ, VendorKinds())
        if asked.online:
            asyncio.run(try_all_online(found))
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except Refused as error:
        print(error.message, file=sys.stderr)  # noqa: T201 the program's output
        return EXIT_USAGE
    except ProviderFailed as error:
        print(error.message, file=sys.stderr)  # noqa: T201 the program's output
        return EXIT_FAILED
    print(described(found))  # noqa: T201 the program's output
    return 0


def show_plan(argv: Sequence[str]) -> int:
    """Show what a configuration would do for tasks of a file, without a cluster; the exit code."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="clusterodm asr plan",
        description="Show which machines a configuration would rent for tasks, and why, without a cluster and without renting any.",
        epilog="Exit codes: 0 shown, 2 mistakes or wrong usage. Without --asr a running cluster is asked.",
    )
    parser.add_argument("--asr", required=True, metavar="FILE", help="JSON file, as for the autoscaler")
    parser.add_argument("--demand", metavar="FILE", help="JSON list of objects, as the page says; none: no task")
    try:
        given = parser.parse_args(argv)
        found = check_file(given.asr, os.environ, VendorKinds())
        demand = imagined(demand_text(given.demand)) if given.demand else ()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except Refused as error:
        print(error.message, file=sys.stderr)  # noqa: T201 the program's output
        return EXIT_USAGE
    steps = planned_alone(found.limits, demand, SystemClock().wall_ms())
    print("\n".join(map(str, steps)) or "nothing is to be done")  # noqa: T201 the program's output
    return 0


async def try_all_online(configuration: Configuration) -> None:
    """Try every provider, so that each mistake is told.

    Raises Refused with a line for each mistake and for each that did not answer; ProviderFailed where the latter is all there is.
    """
    mistakes: list[str] = []
    silent: list[str] = []
    for name, part in configuration.parts.items():
        before = f"{name}: " if configuration.several else ""
        for attempt in (try_api, try_program, try_bucket):
            try:
                await attempt(part)
            except (ProviderFailed, StorageSilent) as error:
                silent += [f"{before}{line}" for line in error.message.splitlines()]
            except Refused as error:
                mistakes += [f"{before}{line}" for line in error.message.splitlines()]
    if mistakes:
        raise Refused("\n".join(mistakes + silent))
    if silent:
        raise ProviderFailed("\n".join(silent))


async def try_api(configuration: Configuration) -> None:
    """Try what the start tries at the provider's API, in both modes. Raises Refused, and ProviderFailed where it does not answer."""
    with tempfile.TemporaryDirectory() as folder:
        async with api_provider(configuration, os.environ, Path(folder)) as api:
            outcome = await OnlineCheck(api, configuration, say=lambda _: None).once(ONLINE_LIMIT_S)
            if outcome.findings.mistakes:
                raise Refused("\n".join(outcome.findings.mistakes))
            if not outcome.answered:
                raise ProviderFailed(f"no answer: {outcome.reason}")


async def try_program(configuration: Configuration) -> None:
    """Try docker-machine, in its mode. Raises Refused and ProviderFailed."""
    if configuration.mode == DOCKER_MACHINE:
        with tempfile.TemporaryDirectory() as folder:
            async with provider_of(configuration, Path(folder), cross_check=False, poll_s=POLL_S) as provider:
                await provider.check()


async def try_bucket(configuration: Configuration) -> None:
    """Try to write into the bucket. Raises Refused, and StorageSilent where it does not answer."""
    if configuration.node.s3:
        await S3Storage(configuration.node.s3).check()
