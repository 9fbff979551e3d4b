"""The provider `kubernetes` beside the contract, in front of an API server that schedules, ends Pods and refuses as the real one does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusterodm.libs.common.errors import ProviderFailed, Refused, Trouble
from clusterodm.libs.machinesim.cloud_api_kubernetes import Kubernetes
from clusterodm.libs.machinesim.cloud_api_testing import TOKEN, serving
from clusterodm.services.autoscaler.config.core.file import read
from clusterodm.services.autoscaler.orders import Size
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from clusterodm.services.autoscaler.providers.adapters.kubernetes.calls import KubernetesCalls
from clusterodm.services.autoscaler.providers.adapters.kubernetes.client import RIGHTS, KubernetesVendor
from tests.asr_files import OUTSIDE
from tests.cloud_accounts import NAME, PREFIX, booted, order

SIZES = {
    "small": {"cpu": "4", "memory": "16Gi"},
    "spot": {"cpu": "4", "memory": "16Gi", "spot": "gke"},
    "gpu": {"cpu": "8", "memory": "32Gi", "gpu": 2, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]},
    "huge": {"cpu": "9000", "memory": "16Gi"},
}


def vendor(url: str, regions: tuple[str, ...] = ("",), **keys: Any) -> KubernetesVendor:
    way = {} if "kubeconfig" in keys else {"endpoint": url, "token": TOKEN}
    usual = {"provider": "kubernetes", "namespace": "odm", "sizes": SIZES, "keepResults": 0, "schedulingTimeout": 1}
    content: dict[str, Any] = usual | way | keys
    content["imageSizeMapping"] = [{"slug": name, "maxImages": 50} for name in SIZES]
    settings = read(content, OUTSIDE).own
    return KubernetesVendor(settings, KubernetesCalls(settings, 15.0), regions, poll_every_s=0.02)


@asynccontextmanager
async def cluster(**keys: Any) -> AsyncIterator[tuple[Kubernetes, BootedProvider]]:
    async with serving("kubernetes") as served, booted(vendor(served.url, **keys)) as provider:
        yield served.kind, provider
        assert served.kind.refused == []


def of(slug: str, region: str = "") -> Any:
    return order(region, Size(slug=slug, max_images=50))


async def test_each_size_goes_where_it_belongs_and_its_secret_goes_with_it():
    async with cluster() as (api, provider):
        for slug, where in (("small", "large-a"), ("spot", "spot-1"), ("gpu", "gpu-1")):
            made = await provider.create(of(slug))
            (found,) = api._machines.here()
            assert found.extra["node"] == where
            assert list(api.secrets) == [NAME]
            assert (await provider.list(PREFIX))[0].size == slug
            await provider.destroy(NAME, made.ref)
            assert api.present() == []


async def test_a_region_is_a_zone():
    async with cluster() as (api, provider):
        await provider.create(of("small", "zone-b"))
        (found,) = api._machines.here()
        assert found.extra["node"] == "large-b"
        assert (await provider.list(PREFIX))[0].region == "zone-b"


async def test_a_pod_that_no_computer_takes_is_sold_out_with_the_schedulers_words():
    async with cluster() as (api, provider):
        with pytest.raises(ProviderFailed, match="Insufficient cpu") as caught:
            await provider.create(of("huge"))
        assert caught.value.trouble is Trouble.OUT_OF_CAPACITY
        assert caught.value.ref
        await provider.destroy(NAME, caught.value.ref)
        assert api.present() == []


async def test_graphics_cards_that_others_have_are_sold_out():
    async with cluster() as (_, provider):
        await provider.create(of("gpu"))
        with pytest.raises(ProviderFailed, match=r"Insufficient nvidia.com/gpu") as caught:
            await provider.create(order("", Size(slug="gpu", max_images=50), name=f"{PREFIX}50-second"))
        assert caught.value.trouble is Trouble.OUT_OF_CAPACITY


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("oom", "out of memory"),
        ("evicted", "Evicted"),
        ("deadline", "DeadlineExceeded"),
        ("spot", "imminent node shutdown"),
    ],
)
async def test_how_a_pod_ends_is_told_by_the_list(how: str, said: str):
    async with cluster() as (api, provider):
        await provider.create(of("small"))
        api.end(NAME, how)
        (found,) = await provider.list(PREFIX)
        assert said in found.leaving


async def test_an_image_that_cannot_be_pulled_is_not_waited_for():
    async with serving("kubernetes") as served, booted(vendor(served.url)) as provider:
        wanted = of("small")
        object.__setattr__(wanted.launch, "image", "example.org/missing:1")
        made = await provider.create(wanted)
        with pytest.raises(ProviderFailed, match="ImagePullBackOff"):
            await provider.set_up(wanted, made)


async def test_a_pod_that_lacks_its_secret_gets_it_by_the_next_call():
    async with serving("kubernetes") as served, booted(vendor(served.url)) as provider:
        served.cloud.fail("secrets", "error")
        with pytest.raises(ProviderFailed) as caught:
            await provider.create(of("small"))
        assert caught.value.ref
        assert (await provider.list(PREFIX))[0].running is False
        assert served.kind.secrets == {}
        await provider.create(of("small"))
        assert (await provider.list(PREFIX))[0].running


async def test_a_list_whose_pages_have_expired_is_read_anew():
    async with cluster() as (api, provider):
        names = [f"{PREFIX}5-{number:04}" for number in range(250)]
        for name in names:
            api.rent(name)
        api.expiring_count = 2
        assert sorted(each.name for each in await provider.list(PREFIX)) == names
        api.expiring_count = 3
        with pytest.raises(ProviderFailed, match="410") as caught:
            await provider.list(PREFIX)
        assert caught.value.trouble is Trouble.RETRYABLE


@pytest.mark.parametrize(("verb", "resource"), RIGHTS)
async def test_a_right_that_is_missing_is_named_at_the_start(verb: str, resource: str):
    async with cluster() as (api, provider):
        api.denied.add((verb, resource))
        with pytest.raises(Refused, match=f"no right to {verb} {resource} in the namespace 'odm'"):
            await provider.check()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        pytest.param({"serviceAccount": "nobody"}, 'serviceaccount "nobody" not found', id="service account"),
        pytest.param({"priorityClass": "nothing"}, "no PriorityClass with name nothing", id="priority class"),
        pytest.param({"namespace": "elsewhere"}, 'namespaces "elsewhere" not found', id="namespace"),
        pytest.param({"annotations": {"a b": "c"}}, "metadata.annotations: Invalid value", id="annotation"),
        pytest.param({"token": "wrong"}, "401 Unauthorized", id="token"),
    ],
)
async def test_what_the_server_would_refuse_is_told_at_the_start_and_nothing_is_made(keys: dict[str, Any], said: str):
    async with serving("kubernetes") as served, booted(vendor(served.url, **keys)) as provider:
        with pytest.raises(Refused, match=said):
            await provider.check()
        assert served.kind.present() == []


async def test_a_kubeconfig_says_where_the_cluster_is(tmp_path: Path):
    async with serving("kubernetes") as served:
        content = {
            "clusters": [{"name": "c", "cluster": {"server": served.url}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "odm"}}],
            "current-context": "other",
        }
        (tmp_path / "config").write_text(yaml.safe_dump(content))
        found = vendor("", kubeconfig=str(tmp_path / "config"), context="here", namespace="")
        async with booted(found) as provider:
            await provider.check()
        with pytest.raises(Refused, match="Context 'nowhere' not found"):
            vendor("", kubeconfig=str(tmp_path / "config"), context="nowhere")
        (tmp_path / "config").write_text("clusters: 5")
        with pytest.raises(Refused, match="no way to a cluster is known"):
            vendor("", kubeconfig=str(tmp_path / "config"))
