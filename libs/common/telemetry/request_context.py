"""What this piece of work is done for: the id of the request that caused it, and whose request it is.

Both go with the work by themselves, into every asyncio task that it starts. The bus carries `cause` to the services that it asks, and every
line of the log shows both (libs/common/telemetry/log.py).
"""

from contextvars import ContextVar
from random import getrandbits
from typing import Final

CAUSE_BITS: Final = 88
cause: Final[ContextVar[str]] = ContextVar("cause", default="")
"""The id that a client's request, or a loop's round, has in every service that has to do with it; empty: nobody's."""
tenant: Final[ContextVar[str]] = ContextVar("tenant", default="")
"""The account of the client that asked; empty: none, or nobody knows it yet."""


def new_cause() -> str:
    """Make the id of a request that comes from outside: 22 hexadecimal digits."""
    return f"{getrandbits(CAUSE_BITS):022x}"
