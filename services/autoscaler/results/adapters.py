"""The bucket where nodes put their results: tried once at the start, then asked where results lie. boto3 stops here."""

import asyncio
import re
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import structlog

from clusterodm.libs.common.errors import ProviderFailed, Refused, Trouble
from clusterodm.libs.common.process.lifecycle import threaded
from clusterodm.services.autoscaler.orders import S3Target

log = structlog.get_logger()

Value = TypeVar("Value")

TEST_KEY: Final = "test.txt"
CANNOT: Final = "Cannot connect to S3. Check your S3 configuration"
CHECK_S: Final = 15.0
"""boto3 would try three times as long as it may wait for an answer; who starts a cluster wants to know sooner."""
TIMEOUT_S: Final = 10
REGION: Final = re.compile(r"(?:^|//)s3[.-]([a-z0-9-]+)\.amazonaws\.com")
USUAL_REGION: Final = "us-east-1"
SIGNED_FOR_S: Final = 3600
"""A download may begin so long after its address was given; a running one goes on."""
OK: Final = 200
SERVER_ERROR: Final = 500
NO_ANSWER: Final = frozenset(("HTTPClientError", "ConnectionError"))
"""botocore's errors of the way to the server."""
NOT_THERE: Final = frozenset(("404", "NoSuchKey", "NotFound"))
DENIED: Final = frozenset(("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"))


class StorageSilent(Refused):
    """The storage did not answer, or not with a decision: another try may end otherwise."""


class S3Storage:
    """See handlers.ResultStorage."""

    def __init__(self, target: S3Target) -> None:
        self._target = target
        self._client: Any = None
        self._making = threading.Lock()

    async def check(self) -> None:
        """Write a small file, as the original does; see handlers.ResultStorage. Raises StorageSilent where nobody has said no."""
        try:
            async with asyncio.timeout(CHECK_S):
                await threaded(self._write, "S3")
        except TimeoutError:
            raise StorageSilent(f"{CANNOT}: no answer in {CHECK_S:g} s") from None
        except Exception as error:  # noqa: BLE001 boto3 raises whatever its parts raise
            raise (StorageSilent if is_silence(error) else Refused)(f"{CANNOT}: {code_of(error)}") from None
        log.info("Can write to S3")

    async def public_url(self, key: str) -> str | None:
        """Ask for the file as anybody may; see handlers.ResultStorage."""
        import httpx

        url = str(await self._do(lambda: self._signed(key, "get_object"))).partition("?")[0]
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_S, verify=not self._target.ignore_ssl) as client:
                answer = await client.head(url)
        except httpx.HTTPError as error:
            raise ProviderFailed(f"S3 cannot be reached: {type(error).__name__}") from None
        if answer.status_code >= SERVER_ERROR:
            raise ProviderFailed(f"S3 answered with status {answer.status_code}")
        return url if answer.status_code == OK else None

    async def signed_url(self, key: str, *, head: bool) -> str | None:
        """See handlers.ResultStorage."""
        return await self._do(lambda: self._found_and_signed(key, "head_object" if head else "get_object"))

    def _found_and_signed(self, key: str, method: str) -> str | None:
        try:
            self._connected().head_object(Bucket=self._target.bucket, Key=key)
        except Exception as error:
            if code_of(error) in NOT_THERE:
                return None
            raise
        return self._signed(key, method)

    def _signed(self, key: str, method: str) -> str:
        place = {"Bucket": self._target.bucket, "Key": key}
        return str(self._connected().generate_presigned_url(method, Params=place, ExpiresIn=SIGNED_FOR_S))

    async def _do(self, work: Callable[[], Value]) -> Value:
        try:
            return await threaded(work, "S3")
        except Exception as error:  # noqa: BLE001 boto3 raises whatever its parts raise
            code = code_of(error)
            trouble = Trouble.UNAUTHORISED if code in DENIED else Trouble.RETRYABLE
            raise ProviderFailed(f"S3 does not say where the result is: {code}", trouble) from None

    def _connected(self) -> Any:
        """Make the client once: it may be used by several threads, and costs a tenth of a second."""
        with self._making:
            self._client = self._client or client_of(self._target)
        return self._client

    def _write(self) -> None:
        self._connected().put_object(Bucket=self._target.bucket, Key=TEST_KEY, Body=b"")


def client_of(target: S3Target) -> Any:
    """Make a boto3 client for the bucket."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint_url(target.endpoint),
        region_name=region_of(target.endpoint),
        aws_access_key_id=target.access_key.reveal(),
        aws_secret_access_key=target.secret_key.reveal(),
        verify=not target.ignore_ssl,
        config=Config(
            signature_version="s3v4",
            connect_timeout=TIMEOUT_S,
            read_timeout=TIMEOUT_S,
            retries={"max_attempts": 2},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def endpoint_url(endpoint: str) -> str:
    """Add the scheme that the original assumes."""
    return endpoint if "://" in endpoint else f"https://{endpoint}"


def region_of(endpoint: str) -> str:
    """Read Amazon's region out of an endpoint; other providers take any."""
    found = REGION.search(endpoint)
    return found[1] if found else USUAL_REGION


def is_silence(error: Exception) -> bool:
    """Whether an error of boto3 is no answer, or one that says nothing about keys and bucket (5xx)."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= SERVER_ERROR
    return any(kind.__name__ in NO_ANSWER for kind in type(error).__mro__)


def code_of(error: Exception) -> str:
    """Say what went wrong in the service's own word: `InvalidAccessKeyId`, `NoSuchBucket`; never a key."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", type(error).__name__))
    return type(error).__name__
