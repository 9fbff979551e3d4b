"""A store of large things over NATS' object store, which keeps them in chunks of 128 KiB.

It reads 8 MB a second: right for consoles, not for images. What is overwritten or deleted is purged; what nobody deletes goes
with its time to live.
"""

import asyncio
import base64
import contextlib
from dataclasses import replace
from typing import Final

import nats.errors
import nats.js.errors
import structlog
from nats.js import JetStreamContext, api
from nats.js.object_store import ObjectStore

from clusterodm.libs.common.bus.replicas import Replicas
from clusterodm.libs.common.bus.retrying import NATS_ERRORS, try_timeout
from clusterodm.libs.common.bus.rights import failure_of
from clusterodm.libs.common.bus.streams import conform, why
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.kinds import ObjectsName
from clusterodm.libs.common.process.lifecycle import cancellable

log = structlog.get_logger()

LONGEST_S: Final = 10.0
"""For one read or write. nats-py waits for ever for chunks that are gone a moment before what describes them."""


async def open_objects(js: JetStreamContext, name: ObjectsName, replicas: Replicas, ttl_s: float) -> "NatsObjects":
    """Open a store, creating it when it does not exist. Raises BusFailed, soon."""
    config = api.ObjectStoreConfig(ttl=ttl_s, storage=api.StorageType.FILE, replicas=replicas.count)
    try:
        async with try_timeout():
            store = await cancellable(opened(js, name.name, config, replicas))
    except NATS_ERRORS as error:
        raise failure_of(f"object store {name.name} cannot be opened: {why(error)}", error) from None
    return NatsObjects(js, store, name, config, replicas)


async def opened(js: JetStreamContext, name: str, config: api.ObjectStoreConfig, replicas: Replicas) -> ObjectStore:
    """Open a store, creating it when it does not exist. Raises what nats-py raises."""
    try:
        await conform(js, f"OBJ_{name}", replicas, config.ttl or 0)
        return await js.object_store(name)
    except nats.js.errors.NotFoundError:
        return await replicas.made(
            f"OBJ_{name}", lambda count: js.create_object_store(name, config=replace(config, replicas=count))
        )


class NatsObjects:
    """One store. `clusterodm.libs.common.ports.Objects` says what each method promises."""

    def __init__(
        self,
        js: JetStreamContext,
        store: ObjectStore,
        name: ObjectsName,
        config: api.ObjectStoreConfig,
        replicas: Replicas,
    ) -> None:
        self._replicas = replicas
        self._js = js
        self._config = config
        self._store = store
        self._name = name.name

    def __repr__(self) -> str:
        """Show its name."""
        return f"NatsObjects({self._name})"

    async def put(self, key: str, content: bytes) -> None:
        """Write a key."""
        try:
            async with asyncio.timeout(LONGEST_S):
                await cancellable(self._put(key, content))
        except NATS_ERRORS as error:
            raise self._failed("written", key, error) from None

    async def _put(self, key: str, content: bytes) -> None:
        try:
            await self._store.put(key, content)
        except (nats.js.errors.NoStreamResponseError, nats.js.errors.NotFoundError):
            log.warning("object_store.disappeared", store=self._name)  # NATS has lost it while we ran
            self._store = await opened(self._js, self._name, self._config, self._replicas)
            await self._store.put(key, content)

    async def get(self, key: str) -> bytes | None:
        """Read a key."""
        try:
            async with asyncio.timeout(LONGEST_S):
                return (await cancellable(self._store.get(key))).data or b""
        except nats.js.errors.NotFoundError:
            return None
        except NATS_ERRORS as error:
            raise self._failed("read", key, error) from None

    async def delete(self, key: str) -> None:
        """Remove a key."""
        try:
            with contextlib.suppress(nats.js.errors.NotFoundError):
                async with asyncio.timeout(LONGEST_S):
                    await cancellable(self._delete(key))
        except NATS_ERRORS as error:
            raise self._failed("deleted", key, error) from None

    async def _delete(self, key: str) -> None:
        """Delete an object, and then what nats-py leaves of it for those who watch: nobody does, and it would stay as long as an object."""
        await self._store.delete(key)
        stream, name = f"OBJ_{self._name}", base64.urlsafe_b64encode(key.encode()).decode()
        await self._js.purge_stream(stream, subject=f"$O.{self._name}.M.{name}")

    def _failed(self, what: str, key: str, error: BaseException) -> BusFailed:
        return failure_of(f"{self._name}/{key} not {what}: {why(error)}", error)
