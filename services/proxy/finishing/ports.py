"""What finishing needs of the world: the way to a client's own server."""

from typing import Protocol


class Webhook(Protocol):
    """Telling the client's own server that a task has ended."""

    async def post(self, url: str, body: bytes) -> None:
        """POST JSON once, http(s) only, within 10 s. Raises WebhookFailed, WebhookRefused when no try would help."""
        ...
