"""Where results lie, and how whoever wants them gets there."""

from dataclasses import dataclass, field

import pytest

from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.messages.machines import FindResult, ResultFound
from clusterodm.libs.common.model.values import NodeTaskId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.orders import S3Target
from clusterodm.services.autoscaler.results.handlers import ResultFinder, key_of

TASK = NodeTaskId("6f9619ff-8b86-4011-b42d-00c04fc964ff")


@dataclass
class FakeBucket:
    public: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def check(self) -> None:
        return

    async def public_url(self, key: str) -> str | None:
        self.asked.append(f"public {key}")
        return f"https://s3/{key}" if key in self.public else None

    async def signed_url(self, key: str, *, head: bool) -> str | None:
        self.asked.append(f"{'HEAD' if head else 'GET'} {key}")
        return f"https://s3/{key}?signature" if key in self.private | self.public else None


def results(bucket: FakeBucket | None, acl: str = "", downloads: str = "redirect") -> ResultFinder:
    target = S3Target(endpoint="s3", bucket="b", access_key=Secret("a"), secret_key=Secret("s"), acl=acl)
    return ResultFinder(downloads, [(target, bucket)] if bucket else [])


@pytest.mark.parametrize(
    ("asset", "key"),
    [
        pytest.param("all.zip", f"{TASK}/all.zip", id="by its name"),
        pytest.param("orthophoto.tif", f"{TASK}/odm_orthophoto/odm_orthophoto.tif", id="by its other name"),
        pytest.param("odm_dem/dsm.tif", f"{TASK}/odm_dem/dsm.tif", id="in a folder"),
    ],
)
def test_a_result_lies_under_the_nodes_id_of_the_task(asset: str, key: str):
    assert key_of(TASK, asset) == key


@pytest.mark.parametrize("asset", ["", "../x", "a/../../x", "a//b", "/x", "./x", "x" * 501])
def test_what_is_no_result_is_refused(asset: str):
    with pytest.raises(Refused, match="Invalid asset"):
        key_of(TASK, asset)


@pytest.mark.parametrize("task", ["", "a/b", "..", "x" * 101])
def test_what_is_no_task_is_refused(task: str):
    with pytest.raises(Refused):
        key_of(NodeTaskId(task), "all.zip")


@pytest.mark.parametrize(
    ("acl", "public", "url", "asked"),
    [
        pytest.param("", True, f"https://s3/{TASK}/all.zip", ["public"], id="public: its plain address"),
        pytest.param("", False, f"https://s3/{TASK}/all.zip?signature", ["public", "GET"], id="not public after all"),
        pytest.param("none", True, f"https://s3/{TASK}/all.zip?signature", ["GET"], id="never public: nobody asks"),
    ],
)
async def test_who_may_read_it_decides_on_the_address(acl: str, public: bool, url: str, asked: list[str]):
    bucket = FakeBucket(**{"public" if public else "private": {f"{TASK}/all.zip"}})
    found = await results(bucket, acl).find(FindResult(node_task_id=TASK, asset="all.zip"))
    assert found == ResultFound(url=url)
    assert [each.partition(" ")[0] for each in bucket.asked] == asked


async def test_a_result_that_is_not_there_has_no_address():
    with pytest.raises(NotFound):
        await results(FakeBucket()).find(FindResult(node_task_id=TASK, asset="all.zip"))


async def test_without_a_bucket_there_are_no_addresses():
    with pytest.raises(Refused, match="no S3 bucket"):
        await results(None).find(FindResult(node_task_id=TASK, asset="all.zip"))


async def test_an_address_for_head_is_signed_for_head_and_streaming_is_said():
    bucket = FakeBucket(private={f"{TASK}/all.zip"})
    found = await results(bucket, "private", "stream").find(FindResult(node_task_id=TASK, asset="all.zip", head=True))
    assert found.stream
    assert bucket.asked == [f"HEAD {TASK}/all.zip"]
    assert "signature" not in repr(found)
