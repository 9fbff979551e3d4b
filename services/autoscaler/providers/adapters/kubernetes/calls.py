"""The way to an API server: lightkube (https://lightkube.readthedocs.io), and what its exceptions mean.

It knows kubeconfigs, service accounts whose token changes, programs that give tokens, and pages of lists. What is added: a time limit for
each call, a pause when the server says to slow down, and a list that is read anew when its pages have expired (410).
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import httpx2
from lightkube import ApiError, AsyncClient, ConfigError, KubeConfig, SingleConfig
from lightkube.config.models import Cluster, User
from lightkube.models.authorization_v1 import ResourceAttributes, SelfSubjectAccessReviewSpec
from lightkube.resources.authorization_v1 import SelfSubjectAccessReview
from lightkube.resources.core_v1 import Pod, Secret

from clusterodm.libs.common.errors import ProviderFailed, Refused, Trouble
from clusterodm.services.autoscaler.orders import masked
from clusterodm.services.autoscaler.providers.core.kubernetes_pods import SELECTOR
from clusterodm.services.autoscaler.providers.core.kubernetes_settings import KubernetesSettings
from clusterodm.services.autoscaler.providers.core.kubernetes_status import meaning, one_line

BAD_REQUEST, GONE, NOT_FOUND, CONFLICT, TOO_MANY = 400, 410, 404, 409, 429
RETRIES_COUNT: Final = 2
LONGEST_PAUSE_S: Final = 20.0
LISTINGS_COUNT: Final = 3
PAGE_COUNT: Final = 200
NOT_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)

Answer = TypeVar("Answer")


class KubernetesCalls:
    """One API server, and one namespace there."""

    def __init__(self, settings: KubernetesSettings, answer_s: float) -> None:
        self._secrets = [settings.token] if settings.token else []
        self._answer_s = answer_s
        config = configuration(settings)
        self.url = config.cluster.server.rstrip("/")
        self.namespace = settings.namespace or config.namespace
        timeout = httpx2.Timeout(answer_s, connect=min(answer_s, 10.0))
        try:
            self._client = AsyncClient(config, namespace=self.namespace, timeout=timeout)
        except (OSError, ValueError, ConfigError) as error:
            raise Refused(f"kubernetes: {said(error)}") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def pods(self) -> list[dict[str, Any]]:
        """List our Pods, page by page. Raises ProviderFailed."""
        for left in reversed(range(LISTINGS_COUNT)):
            try:
                found: list[dict[str, Any]] = await self._call("list Pods", self._listed)
            except ExpiredPages as error:
                if not left:
                    raise ProviderFailed(error.message) from None
            else:
                return found
        raise AssertionError

    async def pod(self, name: str) -> dict[str, Any] | None:
        """Look a Pod up. Raises ProviderFailed."""
        found = await self._call(f"get Pod {name}", lambda: self._client.get(Pod, name), missing=True)
        return None if found is None else found.to_dict()

    async def create_pod(self, manifest: dict[str, Any], *, only_tried: bool = False) -> dict[str, Any]:
        """Create a Pod; `only_tried`: the server does as if. Raises ProviderFailed."""
        pod = Pod.from_dict(manifest)
        what = f"create Pod {manifest['metadata']['name']}"
        made = await self._call(what, lambda: self._client.create(pod, dry_run=only_tried), creates=not only_tried)
        shown: dict[str, Any] = made.to_dict()
        return shown

    async def create_secret(self, manifest: dict[str, Any]) -> None:
        """Create a Secret, unless it is there. Raises ProviderFailed."""
        secret = Secret.from_dict(manifest)
        try:
            await self._call("create its Secret", lambda: self._client.create(secret), creates=True)
        except NameTaken:
            return

    async def delete_pod(self, name: str) -> None:
        """Delete a Pod; one that is not there is deleted already. Raises ProviderFailed."""
        await self._call(f"delete Pod {name}", lambda: self._client.delete(Pod, name), missing=True)

    async def log(self, name: str, most_count: int) -> list[str]:
        """Read the last lines of what a Pod's containers have written; none where none has begun. Raises ProviderFailed."""
        try:
            found: list[str] = (
                await self._call(f"get log of Pod {name}", lambda: self._logged(name, most_count), missing=True) or []
            )
        except BadRequest:  # its container waits to start
            return []
        return found

    async def may(self, verb: str, resource: str) -> bool:
        """Ask whether we have a right in this namespace. Raises ProviderFailed."""
        attributes = ResourceAttributes(namespace=self.namespace, verb=verb, resource=resource)
        review = SelfSubjectAccessReview(spec=SelfSubjectAccessReviewSpec(resourceAttributes=attributes))
        answer = await self._call("ask for rights", lambda: self._client.create(review))
        if answer.status is None:
            raise ProviderFailed("kubernetes: the answer is no review of rights")
        return bool(answer.status.allowed)

    async def _logged(self, name: str, most_count: int) -> list[str]:
        return [line async for line in self._client.log(name, tail_lines=most_count, newlines=False)]

    async def _listed(self) -> list[dict[str, Any]]:
        found = self._client.list(Pod, labels=dict(SELECTOR), chunk_size=PAGE_COUNT)
        return [pod.to_dict() async for pod in found]

    async def _call(
        self, what: str, do: Callable[[], Awaitable[Answer]], *, creates: bool = False, missing: bool = False
    ) -> Any:
        """Call, and again when told to slow down; `missing`: None is an answer. Raises ProviderFailed."""
        for left in reversed(range(RETRIES_COUNT + 1)):
            try:
                return await self._once(what, do, Trouble.unanswered(creates=creates))
            except httpx2.HTTPStatusError as error:
                status = error.response.status_code
                if missing and status == NOT_FOUND:
                    return None
                pause_s = asked_pause_s(error.response.headers)
                if not (left and status == TOO_MANY and pause_s <= LONGEST_PAUSE_S):
                    raise self._refused(what, error, creates=creates) from None
                await asyncio.sleep(pause_s)
        raise AssertionError

    async def _once(self, what: str, do: Callable[[], Awaitable[Answer]], unanswered: Trouble) -> Answer:
        """Call. Raises ProviderFailed where there is no answer, and httpx2.HTTPStatusError for a refusal."""
        try:
            async with asyncio.timeout(2 * self._answer_s):
                return await do()
        except httpx2.HTTPStatusError:
            raise
        except NOT_SENT as error:
            raise self._failed(what, f"no connection ({type(error).__name__})", Trouble.RETRYABLE) from None
        except (httpx2.TimeoutException, TimeoutError):
            raise self._failed(what, "no answer in time", unanswered) from None
        except ConfigError as error:
            raise self._failed(what, said(error), Trouble.UNAUTHORISED) from None
        except (httpx2.HTTPError, KeyError, ValueError, OSError) as error:
            if isinstance(
                error.__context__, httpx2.HTTPStatusError
            ):  # a refusal whose text is not Kubernetes' own: of a proxy in between
                raise error.__context__ from None
            raise self._failed(what, f"no answer that is one ({type(error).__name__})", unanswered) from None

    def _refused(self, what: str, error: httpx2.HTTPStatusError, *, creates: bool) -> ProviderFailed:
        status, words = error.response.status_code, told(error)
        failed = self._failed(what, f"{status} {words}", meaning(status, words, creates=creates))
        kinds = {GONE: ExpiredPages, CONFLICT: NameTaken, BAD_REQUEST: BadRequest}
        return kinds.get(status, ProviderFailed)(failed.message, failed.trouble)

    def _failed(self, what: str, sentence: str, trouble: Trouble) -> ProviderFailed:
        return ProviderFailed(one_line(masked(f"kubernetes: {what}: {sentence}", self._secrets)), trouble)


class ExpiredPages(ProviderFailed):
    """The rest of a list is not to be had any more (410): it is to be read anew."""


class BadRequest(ProviderFailed):
    """It is nothing that can be asked for now (400)."""


class NameTaken(ProviderFailed):
    """There is an object of this name (409)."""


def configuration(settings: KubernetesSettings) -> SingleConfig:
    """Find out which API server is meant: the endpoint, the kubeconfig, or that of the cluster we run in. Raises Refused."""
    try:
        found = sought(settings).get(settings.context or None)
    except (ConfigError, KeyError, TypeError, ValueError, OSError) as error:
        raise Refused(f"kubernetes: no way to a cluster is known: {said(error)}") from None
    if found is None or not found.cluster.server:
        raise Refused("kubernetes: no way to a cluster is known: the kubeconfig names no server")
    return found if found.user else found._replace(user=User())


def sought(settings: KubernetesSettings) -> KubeConfig:
    """Read what the file names, else what the environment has."""
    if settings.endpoint:
        user = User(token=settings.token.reveal()) if settings.token else User()
        plain = settings.endpoint.startswith(
            "http:"
        )  # certificates that nobody asks for take a tenth of a second to load
        cluster = Cluster(server=settings.endpoint, certificate_auth=settings.authority or None, insecure=plain)
        return KubeConfig.from_one(cluster=cluster, user=user, namespace=settings.namespace or None)
    if settings.kubeconfig:
        return KubeConfig.from_file(settings.kubeconfig)
    if settings.context:
        return KubeConfig.from_file(os.environ.get("KUBECONFIG", "~/.kube/config"))
    return KubeConfig.from_env()


def asked_pause_s(headers: httpx2.Headers) -> float:
    """Read how long to wait after "too many requests"."""
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return 1.0


def told(error: httpx2.HTTPStatusError) -> str:
    """Say what the server says: a Status has a message, anything else in between has none."""
    if isinstance(error, ApiError):
        return str(error.status.message or error.status.reason or "")
    return ""


def said(error: Exception) -> str:
    """Say what an exception says, in one line; a kubeconfig's content is not shown."""
    return one_line(str(error)) if isinstance(error, ConfigError) else type(error).__name__
