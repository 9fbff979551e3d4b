"""Cuts what goes on for a token that counts no more: an upload or a download may take hours, and its token is looked at when it begins.

Only what may take long is noted here: all that receives files or a form, which a client may hold back for minutes, and downloads. The rest is
over before anybody could cut it. Each token is asked about once a second, as at a new request: so what is under way ends as soon as nothing
new may begin, or a second later. What has been sent as a whole while its token counted is carried out and answered.
"""

import asyncio
from collections import defaultdict
from typing import Final

import structlog

from clusterodm.libs.common.tenancy import ShownToken, shown
from clusterodm.services.proxy.errors import ServerBusy
from clusterodm.services.proxy.exchange.request import RequestContext
from clusterodm.services.proxy.tenants.ports import TokenChecker

log = structlog.get_logger()

CHECKED_EVERY_S: Final = 1.0


class LongRequests:
    """What is under way, and for which token."""

    def __init__(self, checker: TokenChecker) -> None:
        self._checker = checker
        self._under_way: dict[RequestContext, asyncio.Task[object] | None] = {}
        self._cut: set[RequestContext] = set()

    def begin(self, exchange: RequestContext) -> None:
        """Note a request, whose loop's task may be cancelled until its end; where everybody is let in there is nothing to note."""
        if not self._checker.open_to_all:
            self._under_way[exchange] = asyncio.current_task()

    def end(self, exchange: RequestContext) -> bool:
        """Forget a request; whether it was cut. To be said at its end, however it ends."""
        self._under_way.pop(exchange, None)
        was_cut = exchange in self._cut
        self._cut.discard(exchange)
        return was_cut

    async def cut_revoked(self) -> None:
        """Cut those whose token counts no more. Where that cannot be found out now, they go on."""
        requests: defaultdict[ShownToken, list[RequestContext]] = defaultdict(list)
        for exchange in self._under_way:
            requests[shown(exchange.token)].append(exchange)
        doubtful = [token for token in requests if self._checker.known(token) is None]
        if not doubtful:
            return
        async with asyncio.TaskGroup() as group:
            for token in doubtful:
                group.create_task(self._check(token, requests[token]), name="check the token of requests")

    async def _check(self, token: ShownToken, requests: list[RequestContext]) -> None:
        try:
            if await self._checker.check(token) is not None:
                return
        except ServerBusy:
            return
        for exchange in requests:
            task = self._under_way.get(exchange)
            if task is not None and exchange not in self._cut and exchange.body_left:
                self._cut.add(exchange)
                task.cancel()
