"""What a cloud answers is read no further than any answer is long, and is then what it was."""

import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from clusterodm.libs.common.errors import ProviderFailed
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import ANSWER_LIMIT_BYTES, RestClient


class Endless(httpx.AsyncByteStream):
    """A body without end."""

    def __init__(self) -> None:
        self.sent_bytes = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.sent_bytes += 1 << 20
            yield bytes(1 << 20)


def asking(answer: httpx.Response) -> RestClient:
    """Ask somebody who always says the same."""
    way = httpx.MockTransport(lambda _: answer)
    return RestClient("somebody", "http://there", judge=lambda _status, _content: (None, ""), transport=way)


@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_without_end_is_trouble_and_is_not_kept(status: int) -> None:
    body = Endless()
    async with asking(httpx.Response(status, stream=body)) as rest:
        with pytest.raises(ProviderFailed, match="broke off"):
            await rest.get("/machines")

    assert body.sent_bytes <= ANSWER_LIMIT_BYTES + (2 << 20)


async def test_an_answer_that_is_packed_is_read() -> None:
    packed = gzip.compress(b'{"machines":[1,2]}')
    answer = httpx.Response(200, headers={"content-encoding": "gzip", "x-page": "3"}, content=packed)
    async with asking(answer) as rest:
        said = await rest.call("GET", "/machines")

    assert (said.content, said.headers["x-page"]) == ({"machines": [1, 2]}, "3")
