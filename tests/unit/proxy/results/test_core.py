"""Where a result is looked for, and what the answers of storages mean."""

from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.model.tasks import Attempt, AttemptState, LastKnown, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, MachineId, NodeId, NodeTaskId, TaskId
from clusterodm.services.proxy.results.core.answers import (
    ResultPlace,
    StorageAnswer,
    address,
    places,
    seen,
    storage_and_path,
)

MACHINE, PREFIX, NODE = ResultPlace.MACHINE, ResultPlace.PREFIX, ResultPlace.NODE


def attempt(**values: Any) -> Attempt:
    usual = {"state": AttemptState.ENDED, "running_at_ms": 5}
    return Attempt(number=2, node=NodeId("n"), node_task_id=NodeTaskId("on-node"), **{**usual, **values})


def task(*attempts: Attempt, state: TaskState = TaskState.COMPLETED) -> Task:
    return Task(
        id=TaskId("public"),
        name="mine",
        upload_owner=InstanceId("i"),
        created_at_ms=1,
        committed_at_ms=1,
        images_count=1,
        state=state,
        attempts=attempts,
    )


ON_MACHINE = attempt(machine=MachineId("m"))

CANCELED_LATER = msgspec.structs.replace(
    task(ON_MACHINE, state=TaskState.CANCELED), known=LastKnown(code=StatusCode.COMPLETED)
)


@pytest.mark.parametrize(
    ("given", "prefix", "node_known", "found"),
    [
        pytest.param(task(attempt()), "", True, (NODE,), id="a node of one's own"),
        pytest.param(task(attempt()), "", False, (), id="a node that is gone"),
        pytest.param(task(attempt()), "https://x", True, (PREFIX, NODE), id="a bucket beside the node"),
        pytest.param(task(attempt()), "https://x", False, (PREFIX,), id="a bucket outlives the node"),
        pytest.param(task(ON_MACHINE), "", True, (MACHINE, NODE), id="a machine that is about to go"),
        pytest.param(task(ON_MACHINE), "", False, (MACHINE,), id="a machine that is gone"),
        pytest.param(task(ON_MACHINE), "https://x", False, (MACHINE,), id="the autoscaler knows its own bucket"),
        pytest.param(task(ON_MACHINE, state=TaskState.RUNNING), "https://x", True, (NODE,), id="still at work"),
        pytest.param(task(ON_MACHINE, state=TaskState.FAILED), "https://x", True, (NODE,), id="failed"),
        pytest.param(CANCELED_LATER, "", False, (MACHINE,), id="completed, then canceled"),
        pytest.param(task(state=TaskState.WAITING), "https://x", False, (), id="never on a node"),
        pytest.param(task(attempt(running_at_ms=None)), "https://x", True, (), id="never ran"),
    ],
)
def test_places_are_tried_in_their_order(given: Task, prefix: str, node_known: bool, found: tuple[ResultPlace, ...]):
    assert places(given, prefix, node_known=node_known) == found


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        pytest.param(200, StorageAnswer.THERE, id="a file"),
        pytest.param(206, StorageAnswer.TROUBLE, id="a part that nobody asked for"),
        pytest.param(304, StorageAnswer.TROUBLE, id="not modified, and nobody has it"),
        pytest.param(416, StorageAnswer.TROUBLE, id="beyond its end, and nobody asked for a part"),
        pytest.param(404, StorageAnswer.MISSING, id="no such key"),
        pytest.param(403, StorageAnswer.MISSING, id="a bucket that does not say what it has"),
        pytest.param(301, StorageAnswer.TROUBLE, id="another region"),
        pytest.param(500, StorageAnswer.TROUBLE, id="broken"),
        pytest.param(503, StorageAnswer.TROUBLE, id="slow down"),
    ],
)
def test_only_a_file_that_is_there_counts(status: int, meaning: StorageAnswer):
    assert seen(status) is meaning


@pytest.mark.parametrize(
    ("status", "asked", "meaning"),
    [
        pytest.param(206, (b"range", b"bytes=0-4"), StorageAnswer.THERE, id="a part"),
        pytest.param(304, (b"if-none-match", b"x"), StorageAnswer.THERE, id="the one that the client has"),
        pytest.param(304, (b"if-modified-since", b"x"), StorageAnswer.THERE, id="not modified since"),
        pytest.param(304, (b"range", b"bytes=0-4"), StorageAnswer.TROUBLE, id="a part was asked for"),
        pytest.param(206, (b"if-none-match", b"x"), StorageAnswer.TROUBLE, id="the whole was asked for"),
    ],
)
def test_a_part_or_nothing_counts_for_whom_asked_for_that(
    status: int, asked: tuple[bytes, bytes], meaning: StorageAnswer
):
    assert seen(status, [asked], [(b"content-range", b"bytes 0-4/25"), (b"content-length", b"5")]) is meaning


@pytest.mark.parametrize(
    ("prefix", "asset", "url"),
    [
        pytest.param("https://b.s3", "all.zip", "https://b.s3/on-node/all.zip", id="under the id on the node"),
        pytest.param("https://b.s3/", "all.zip", "https://b.s3/on-node/all.zip", id="one slash"),
        pytest.param(
            "https://b.s3/p",
            "orthophoto.tif",
            "https://b.s3/p/on-node/odm_orthophoto/odm_orthophoto.tif",
            id="by its name in the project",
        ),
        pytest.param("https://b.s3", "a b?.zip", "https://b.s3/on-node/a%20b%3F.zip", id="odd letters"),
    ],
)
def test_an_address_is_prefix_task_and_path(prefix: str, asset: str, url: str):
    assert address(prefix, attempt(), asset) == url


@pytest.mark.parametrize(
    ("url", "root", "port", "path"),
    [
        pytest.param("https://s3.x/b/k?X-Sig=1", "https://s3.x", 443, b"/b/k?X-Sig=1", id="signed"),
        pytest.param("http://127.0.0.1:8333/k", "http://127.0.0.1:8333", 8333, b"/k", id="a port of its own"),
        pytest.param("https://minio:9000/k", "https://minio:9000", 9000, b"/k", id="TLS elsewhere"),
        pytest.param("http://s3.x", "http://s3.x", 80, b"/", id="no path"),
    ],
)
def test_a_storage_is_asked_for_exactly_what_was_signed(url: str, root: str, port: int, path: bytes):
    storage, asked = storage_and_path(url)
    assert (storage.url, storage.port, asked) == (root, port, path)
