"""What NATS raises when an answer did not come, of whichever kind: one list for all who ask it."""

import asyncio
from typing import Final

import nats.errors
import nats.js.errors

NATS_ERRORS: Final = (nats.errors.Error, nats.js.errors.Error, OSError, asyncio.TimeoutError)
