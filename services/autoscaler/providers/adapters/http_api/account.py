"""What the vendors with an HTTP API have in common: an account is an open way to it (`RestClient`), and how a call is shown."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.config.core.reader import ObjectReader
from clusterodm.services.autoscaler.orders import NO_SECRET
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import Judge, RestClient
from clusterodm.services.autoscaler.providers.ports import Vendor


class ApiAccount(Vendor):
    """The part of ports.Vendor that is the same whatever the API."""

    def __init__(self, cloud: CloudSettings, rest: RestClient) -> None:
        self._cloud = cloud
        self._rest = rest

    async def __aexit__(self, *error: object) -> None:
        await self._rest.__aexit__(*error)


def with_bearer(  # noqa: PLR0913 - what differs from API to API
    provider: str,
    url: str,
    cloud: CloudSettings,
    key: str,
    *,
    judge: Judge,
    timeout_s: float,
    transport: httpx.AsyncBaseTransport | None,
) -> RestClient:
    """Make the way to an API that takes one of the configuration's keys as a bearer token."""
    token = cloud.keys.get(key, NO_SECRET)
    headers = {"Authorization": Secret(f"Bearer {token.reveal()}")}
    return RestClient(
        provider, cloud.endpoint or url, judge=judge, headers=headers, timeout_s=timeout_s, transport=transport
    )


def described(method: str, url: str, body: Mapping[str, Any], **hidden: str) -> str:
    """Say the call; `user_data` and the `hidden` parts of the body appear as what is said of them."""
    shown = dict(body)
    if "user_data" in shown:
        shown["user_data"] = f"<{len(str(shown['user_data']).encode())} bytes of cloud-init>"
    return f"{method} {url} {json.dumps(shown | hidden, ensure_ascii=False)}"


def ssh_key(reader: ObjectReader) -> tuple[str, str]:
    """Read an existing SSH key: fingerprint and path, or two empty texts."""
    key = reader.section("sshKey")
    return key.text("fingerprint"), key.existing("path")
