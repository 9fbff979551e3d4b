"""The event log: what happened on this node, one JSON object per line, for tests that reconstruct it.

    {"at_ms": 1700000000000, "node": "n1", "pid": 7, "event": "task_started", "task": "…", …}

Each line is one write to a file opened for appending, so that several nodes may
share a file and a killed one leaves no half line.

    node_started  node_stopped  tasks_forgotten
    task_initialised  file_stored{file,size,sha256,complete}  upload_dropped{how}  commit_dropped{how}
    uploads_removed
    task_committed{files}  task_queued{images}  task_refused{error}
    task_started{run}  task_finished{run,status,error}  task_canceled  task_restarted  task_removed
"""

import os
import time
from typing import Any

import msgspec


def now_ms() -> int:
    """Milliseconds since 1970: the clock of this program, read at its edges only."""
    return time.time_ns() // 1_000_000


class EventLog:
    """Appends to a file; to none when there is no path."""

    def __init__(self, path: str, node: str) -> None:
        self.wanted = bool(path)
        self._node = node
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) if path else -1

    def tell(self, event: str, **details: Any) -> None:
        """Write one line."""
        if self.wanted:
            line = {"at_ms": now_ms(), "node": self._node, "pid": os.getpid(), "event": event, **details}
            os.write(self._file, msgspec.json.encode(line) + b"\n")
