"""The way to EC2: boto3's clients, each call in a thread with a time limit, and what its failure means for the next try.

boto3 blocks. A session makes one client at a time, and a client is kept per region.
"""

import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError
from botocore.parsers import ResponseParserError

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.process.lifecycle import threaded
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.orders import NO_SECRET, masked
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import LONGEST_MESSAGE

ATTEMPTS_COUNT: Final = 3
"""boto3's own, with pauses in between: on throttling, 5xx and broken connections."""
CONNECT_TIMEOUT_S: Final = 10.0
SERVER_ERROR: Final = 500
TROUBLES: Final[Mapping[str, Trouble]] = {
    "AuthFailure": Trouble.UNAUTHORISED,
    "UnauthorizedOperation": Trouble.UNAUTHORISED,
    "InvalidClientTokenId": Trouble.UNAUTHORISED,
    "SignatureDoesNotMatch": Trouble.UNAUTHORISED,
    "ExpiredToken": Trouble.UNAUTHORISED,
    "RequestExpired": Trouble.UNAUTHORISED,
    "OptInRequired": Trouble.UNAUTHORISED,
    "Blocked": Trouble.UNAUTHORISED,
    "PendingVerification": Trouble.UNAUTHORISED,
    "InsufficientInstanceCapacity": Trouble.OUT_OF_CAPACITY,
    "InsufficientHostCapacity": Trouble.OUT_OF_CAPACITY,
    "InsufficientFreeAddressesInSubnet": Trouble.OUT_OF_CAPACITY,
    "InstanceLimitExceeded": Trouble.OUT_OF_CAPACITY,
    "VcpuLimitExceeded": Trouble.OUT_OF_CAPACITY,
    "VolumeLimitExceeded": Trouble.OUT_OF_CAPACITY,
    "MaxSpotInstanceCountExceeded": Trouble.OUT_OF_CAPACITY,
    "SpotMaxPriceTooLow": Trouble.OUT_OF_CAPACITY,
    "Unsupported": Trouble.OUT_OF_CAPACITY,
    "RequestLimitExceeded": Trouble.RETRYABLE,
    "Throttling": Trouble.RETRYABLE,
    "ThrottlingException": Trouble.RETRYABLE,
    "IdempotentParameterMismatch": Trouble.UNKNOWN_OUTCOME,
}
"""By error code (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html). `Unsupported`: this zone
has no such size. `IdempotentParameterMismatch`: this token has launched something already, so look for it."""
MAKING: Final = threading.Lock()
"""A session makes one client at a time."""
NOT_FOUND: Final = frozenset({"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"})


class Ec2Calls:
    """An account's clients."""

    def __init__(self, cloud: CloudSettings, timeout_s: float) -> None:
        self._cloud = cloud
        self._timeout_s = timeout_s
        self._clients: dict[str, Any] = {}

    async def close(self) -> None:
        """Close the connections."""
        for client in list(self._clients.values()):
            await threaded(client.close, "EC2")

    async def call(self, region: str, do: Callable[[Any], Any], *, creates: bool = False, missing: Any = ...) -> Any:
        """Call in a thread; `missing` is the answer when there is no such instance. Raises ProviderFailed."""
        try:
            return await self._called(lambda: do(self._client(region)))
        except ClientError as error:
            if missing is not ... and error.response["Error"]["Code"] in NOT_FOUND:
                return missing
            raise self._failed(error.response["Error"].get("Message", ""), trouble_of(error, creates=creates)) from None
        except (EndpointConnectionError, ConnectTimeoutError) as error:
            raise self._failed(f"no connection ({type(error).__name__})", Trouble.RETRYABLE) from None
        except (BotoCoreError, ResponseParserError) as error:
            sentence = f"no answer ({type(error).__name__})"
            raise self._failed(sentence, Trouble.unanswered(creates=creates)) from None

    async def _called(self, do: Callable[[], Any]) -> Any:
        """Call in a thread."""
        return await threaded(do, "EC2")

    def _failed(self, sentence: str, trouble: Trouble) -> ProviderFailed:
        return ProviderFailed(f"aws: {masked(sentence, self._cloud.keys.values())[:LONGEST_MESSAGE]}", trouble)

    def _client(self, region: str) -> Any:
        with MAKING:
            if region not in self._clients:
                self._clients[region] = self._made(region)
            return self._clients[region]

    def _made(self, region: str) -> Any:
        keys = self._cloud.keys
        config = Config(
            connect_timeout=min(self._timeout_s, CONNECT_TIMEOUT_S),
            read_timeout=self._timeout_s,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS_COUNT},
        )
        return session().client(
            "ec2",
            region_name=region,
            aws_access_key_id=keys.get("accessKey", NO_SECRET).reveal(),
            aws_secret_access_key=keys.get("secretKey", NO_SECRET).reveal(),
            endpoint_url=self._cloud.endpoint or None,
            config=config,
        )


@cache
def session() -> Any:
    """Give the one session; it reads EC2's description, of some megabytes, once. Keys are each client's own."""
    return boto3.session.Session()


def trouble_of(error: ClientError, *, creates: bool) -> Trouble:
    """Say what an error of EC2 means."""
    code = error.response["Error"]["Code"]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in TROUBLES:
        return TROUBLES[code]
    if status >= SERVER_ERROR:
        return Trouble.unanswered(creates=creates)
    return Trouble.REFUSED
