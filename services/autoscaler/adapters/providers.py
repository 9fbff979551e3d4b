"""Which provider a configuration means. It is imported when it is needed, for what its libraries take."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from services.autoscaler.adapters.api_providers import api_provider
from services.autoscaler.adapters.watched import Watched
from services.autoscaler.core.configuration import DOCKER_MACHINE, Configuration
from services.autoscaler.ports import Provider


@asynccontextmanager
async def provider_of(
    configuration: Configuration, folder: Path, *, cross_check: bool, poll_s: float
) -> AsyncIterator[Provider]:
    """Make the provider and keep it open. `folder`: for lock files of programs that outlive us."""
    if configuration.mode != DOCKER_MACHINE:
        async with api_provider(configuration, os.environ, folder, poll_s) as provider:
            yield provider
        return
    from services.autoscaler.adapters.docker_machine import DockerMachine
    from services.autoscaler.adapters.lookups import Lookups

    machine = DockerMachine(configuration, folder, Lookups(configuration))
    if not cross_check:
        yield machine
        return
    async with api_provider(configuration, os.environ, folder, poll_s) as watcher:
        yield Watched(machine, watcher)
