"""What the autoscaler needs from the world."""

from typing import Protocol

from services.autoscaler.core.configuration import Configuration


class ConfigurationSource(Protocol):
    """Where the configuration comes from."""

    async def read(self) -> Configuration | None:
        """Read and check it; None when there is none. Raises Refused with a sentence for the operator."""
        ...
