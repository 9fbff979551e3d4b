"""The operator's own three programs over the estate of lying_provider.py, called without processes: simulated time has none.

They keep what docs/providers-command.md asks of them: one machine a name, and `destroy` of what is not there is done.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings, StepTimeouts
from clusterodm.services.autoscaler.providers.adapters.command import CommandVendor
from tests.lying_provider import NOTHING, Estate, Faults, Lies, Rented

STEPS: Mapping[str, str] = {"create": "begin", "destroy": "remove"}


class LyingCommands(CommandVendor):
    """A CommandVendor whose programs are played; its locks are real."""

    def __init__(self, estate: Estate, lies: Lies, faults: Faults, folder: Path) -> None:
        super().__init__(CloudSettings(commands={}), StepTimeouts(), folder)
        self._estate = estate
        self._lies = lies
        self._faults = faults

    async def _called(
        self, verb: str, given: bytes, lock: int | None, heard: Callable[[str], None]
    ) -> tuple[int, bytes]:
        del lock, heard
        asked = json.loads(given)
        try:
            how = self._faults.before(STEPS.get(verb) or ("starting" if asked["prefix"].endswith("-") else "named"))
            answer = {} if how == NOTHING else getattr(self, f"_play_{verb}")(asked)
        except ProviderFailed as error:
            return failed(error.message, error.trouble)
        return (
            failed("the answer was lost", Trouble.UNKNOWN_OUTCOME)
            if how and how != NOTHING
            else (0, json.dumps(answer).encode())
        )

    def _play_create(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if asked["name"] in self._estate.machines:
            raise ProviderFailed("it already exists", Trouble.UNKNOWN_OUTCOME)
        found = self._estate.create(asked["name"], asked["size"])
        return self._told(self._estate.book[found.ref])

    def _play_list(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        shown = self._lies.shown(self._estate)
        return {"machines": [self._told(each) for each in shown if each.found.name.startswith(asked["prefix"])]}

    def _play_destroy(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        found = self._estate.machines.get(asked["name"])
        if found is not None:
            self._estate.delete(found.ref)
        return {}

    def _told(self, rented: Rented) -> dict[str, Any]:
        found = rented.found
        told = {"name": found.name, "ref": found.ref, "address": found.address, "leaving": found.leaving}
        return told if self._lies.terse else told | {"size": found.size, "created_at_ms": rented.created_ms}


def failed(message: str, trouble: Trouble) -> tuple[int, bytes]:
    """Fail as the page says that programs do."""
    return 1, json.dumps({"error": {"trouble": str(trouble), "message": message}}).encode()
