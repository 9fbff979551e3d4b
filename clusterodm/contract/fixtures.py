"""What the suite runs on, where `--provider` names a provider."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from clusterodm.contract.plugin import named
from clusterodm.contract.stage import Stage


@pytest_asyncio.fixture
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """Put the provider that `--provider` names in front of what its trial names."""
    kind = named(request.config.getoption("--provider"))
    trial = request.config.getoption("--trial") or getattr(kind, "trial", "")
    if not trial:
        raise pytest.UsageError("give --trial MODULE:FUNCTION, or the provider a `trial` (docs/providers.md)")
    async with named(trial)(tmp_path) as found:
        yield Stage(kind, found, tmp_path)
