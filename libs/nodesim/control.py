"""`/sim/...`: how a test steers the node while it runs. Needs the token, passes the gate of a frozen node."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clusterodm.libs.nodesim import options, settings
from clusterodm.libs.nodesim.node import Node, Refused
from clusterodm.libs.nodesim.wire import answer, body, guarded


class Control:
    """The endpoints that no NodeODM has."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/sim/settings", guarded(self._node, self.show)),
            Route("/sim/settings", guarded(self._node, self.change), methods=["POST"]),
            Route("/sim/forget", guarded(self._node, self.forget), methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:  # noqa: ARG002 - every handler takes the request
        """GET /sim/settings: what can be changed, as it is."""
        return answer(settings.live(self._node.settings))

    async def change(self, request: Request) -> Response:
        """POST /sim/settings: change some, answer with all."""
        changes = options.parse_json((await body(request)).decode())
        if not isinstance(changes, dict):
            raise Refused("Not a JSON object")
        self._node.apply(settings.changed(self._node.settings, changes))
        return await self.show(request)

    async def forget(self, request: Request) -> Response:  # noqa: ARG002 - every handler takes the request
        """POST /sim/forget: lose all tasks and data."""
        self._node.forget()
        return answer({"success": True})
