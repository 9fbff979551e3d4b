"""Who checks tokens, as it is set: this computer, or somebody who is asked, and how patiently."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import SystemClock, now_ms
from clusterodm.services.proxy.settings import ProxySettings
from clusterodm.services.proxy.tenants.adapters.http_authority import LIGHTNING_URL, HttpAuthority
from clusterodm.services.proxy.tenants.adapters.local import EverybodyMayCome, OneToken, followed
from clusterodm.services.proxy.tenants.adapters.remote import (
    Authority,
    BusAuthority,
    RemoteChecker,
    RemoteCheckPolicy,
    remembered,
)
from clusterodm.services.proxy.tenants.ports import TokenChecker

LOCAL: Final = "local"
HTTP_S: Final = 3.0
LIGHTNING_S: Final = 15.0
GRACE_S: Final = 300.0
LIGHTNING_POLICY: Final = RemoteCheckPolicy(fresh_s=3600.0, grace_s=3600.0, tries_count=10, pause_s=2.0)
"""The original's."""


@asynccontextmanager
async def token_checker(settings: ProxySettings, bus: Bus) -> AsyncIterator[TokenChecker]:
    """Open whoever checks tokens. Raises Refused."""
    if settings.cloud_provider != LOCAL:
        async with asked(settings, bus) as remote:
            yield remote
    elif settings.tokens:
        async with followed(Path(settings.tokens), now_ms) as file:
            yield file
    else:
        yield OneToken(settings.expected_token) if settings.expected_token else EverybodyMayCome()


def asked(settings: ProxySettings, bus: Bus) -> AbstractAsyncContextManager[RemoteChecker]:
    """Open who is asked."""
    policy = RemoteCheckPolicy(fresh_s=settings.token_fresh_s, grace_s=GRACE_S, tries_count=3, pause_s=0.2)
    provider, url = settings.cloud_provider, settings.cloud_provider_url
    authority: Authority = BusAuthority(bus) if provider == "nats" else HttpAuthority(url, HTTP_S)
    if provider == "lightning":
        authority, policy = HttpAuthority(url or LIGHTNING_URL, LIGHTNING_S, lightning=True), LIGHTNING_POLICY
    return remembered(authority, policy, SystemClock())
