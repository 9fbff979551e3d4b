"""Archives hide how many images there are: of a `zipurl`, and a file of the name that its node gives it."""

import pytest

from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.services.proxy.forwarding.core.decisions import Distrust, Retries
from clusterodm.services.proxy.forwarding.handlers.delivery import Delivery, StepFailed
from clusterodm.services.proxy.spool.core.upload import Draft, Manifest, StoredFile, submission_of
from tests.forwarding import TASK, World
from tests.memory_spool import MemorySpool

NODE = Node(id=NodeId("n1-3000"), hostname="n1", port=3000)


def draft(zip_url: str = "") -> Draft:
    return Draft(task=TASK, name="t", created_at_ms=1, zip_url=zip_url)


def manifest(*names: str) -> Manifest:
    return Manifest(files=tuple(StoredFile(name=name, size_bytes=1) for name in names), images_count=1)


@pytest.mark.parametrize(
    ("sent", "stored", "count"),
    [
        pytest.param(draft("http://x/y.zip"), Manifest(), None, id="zipurl"),
        pytest.param(draft(), manifest("a.jpg", "zipurl.zip"), None, id="a file of its name"),
        pytest.param(
            draft(), manifest("a.jpg", "seed.zip", "other.zip"), 1, id="other archives: nobody unpacks images"
        ),
        pytest.param(draft(), manifest("a.jpg"), 1, id="photos"),
    ],
)
def test_a_commit_says_how_many_images_there_are_or_that_nobody_knows(sent: Draft, stored: Manifest, count: int | None):
    assert submission_of(sent, stored, InstanceId("p")).images_count == count


async def test_images_in_doubt_beside_an_archive_are_taken_back_because_no_count_proves_anything():
    world = World()
    spool = MemorySpool(await world.bus.bucket(UPLOADS), FakeClock())
    delivery = Delivery(
        world.nodes,
        spool,
        draft(),
        NODE,
        NodeTaskId("x"),
        parallel_count=1,
        retries=Retries(),
        distrust=Distrust(),
        clock=FakeClock(),
    )
    world.nodes.datasets[NodeTaskId("x")] = {"a.jpg": b"1", "zipurl.zip": b"2"}
    delivery.sent = {"a.jpg": 1, "zipurl.zip": 1}
    delivery.doubted = {"a.jpg"}

    async def ask_on() -> None:
        """Still at it."""

    with pytest.raises(StepFailed, match="an archive among them hides how many"):
        await delivery.prove(ask_on)
    assert world.nodes.removed == [NodeTaskId("x")]
