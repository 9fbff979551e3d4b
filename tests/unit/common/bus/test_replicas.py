"""Which streams have fewer replicas than the setting says: gathered, and said once."""

import asyncio

import pytest
import structlog.testing
from nats.js.errors import APIError

from clusterodm.libs.common.bus.replicas import GATHER_S, NOT_CLUSTERED, Replicas
from clusterodm.libs.common.process.loops import background
from tests.waiting import TurnedLoop, passed

SINGLE = APIError(code=500, err_code=NOT_CLUSTERED, description="replicas > 1 not supported in non-clustered mode")


async def play(replicas: Replicas) -> None:
    async with background(replicas.explain, name="explain"):
        for stream in ("KV_b", "KV_a", "KV_a"):
            replicas.has_fewer(stream, 1, "a single server")
        replicas.has_fewer("DEMAND", 2, "no suitable peers")
        await passed(GATHER_S + 1)
        replicas.has_fewer("KV_a", 1, "a single server")
        await passed(GATHER_S + 1)


def test_streams_are_gathered_into_one_line_per_reason():
    with structlog.testing.capture_logs() as lines, asyncio.Runner(loop_factory=TurnedLoop) as runner:
        runner.run(play(Replicas(3)))
    assert [(line["streams"], line["replicas"], line["setting"]) for line in lines if "streams" in line] == [
        ("KV_a KV_b", 1, 3),
        ("DEMAND", 2, 3),
    ]


def test_nothing_is_said_when_all_have_as_many_as_they_should():
    with structlog.testing.capture_logs() as lines:
        Replicas(3).report()
    assert lines == []


@pytest.mark.parametrize(("setting", "made_with"), [(1, [1]), (3, [3, 1])])
async def test_a_stream_is_made_with_one_replica_where_there_is_a_single_server(setting: int, made_with: list[int]):
    tried: list[int] = []

    async def make(count: int) -> str:
        tried.append(count)
        await asyncio.sleep(0)
        if count > 1:
            raise SINGLE
        return "made"

    assert await Replicas(setting).made("KV_a", make) == "made"
    assert tried == made_with


async def test_another_refusal_is_none_of_ours():
    async def make(count: int) -> str:
        raise APIError(code=400, err_code=10005, description=f"no suitable peers for {count}")

    with pytest.raises(APIError, match="no suitable peers for 3"):
        await Replicas(3).made("KV_a", make)
