"""Every provider of ours keeps the contract that strangers' are held to (clusterodm/contract/suite.py)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clusterodm.contract.stage import Stage
from clusterodm.contract.suite import *  # noqa: F403 the tests
from clusterodm.services.autoscaler.providers.adapters.kinds import VendorKinds
from tests.contract.rentals import RENTALS

SLOW = {"aws": pytest.mark.slow, "command": pytest.mark.slow}


@pytest.fixture(params=[pytest.param(name, marks=SLOW.get(name, ())) for name in RENTALS])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    kind, trial = RENTALS[request.param]
    async with trial(tmp_path) as found:
        yield Stage(VendorKinds()[kind], found, tmp_path)
