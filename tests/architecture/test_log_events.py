"""What log lines are called: `noun.verb_past`. Sentences are few, and known."""

import ast
import re
from pathlib import Path

from docs import write_logs

EVENT = re.compile(r"[a-z_0-9]+\.[a-z_]+")
THE_ORIGINALS = frozenset({"Can write to S3", "Found docker-machine executable"})
TO_OPERATORS = frozenset(
    {
        (
            "no admin password: anybody who reaches these ports can steer the cluster; "
            "set CLUSTERODM_ADMIN_PASS or leave out --admin-bind"
        ),
        "no admin password: only this computer is served; CLUSTERODM_ADMIN_PASS or --admin-bind opens it",
        "machines report nothing themselves: set --public-address to their way to the proxy",
    }
)
MADE_ELSEWHERE = frozenset({write_logs.EVENT_NAME, "*a sentence*"})


def test_a_log_line_is_called_noun_and_verb() -> None:
    folders = [*(path.parent for path in write_logs.SERVICES.glob("*/__init__.py")), write_logs.SHARED, Path("deploy")]
    said = {text for folder in folders for text, _ in write_logs.lines_of(folder)}

    assert {text for text in said if not EVENT.fullmatch(text)} <= THE_ORIGINALS | TO_OPERATORS | MADE_ELSEWHERE
    assert len(said) > len(THE_ORIGINALS)  # it has looked


CAUSED_AT_WILL = frozenset(
    {
        "boot_log.refused",
        "console.read_failed",
        "download.dropped",
        "lease.refused",
        "message.not_decoded",
        "node.recommended",
        "page.dropped",
        "poll.dropped",
        "relay.broken_off",
        "request.body_stalled",
        "request.failed",
        "request.host_refused",
        "request.origin_refused",
        "request.put_off",
        "result.not_found",
        "task.canceled_after_end",
        "task.refused",
        "task.restart_ignored",
        "task.unapproved",
        "telnet.browser_refused",
        "telnet.login_failed",
        "telnet.session_displaced",
        "telnet.session_expired",
        "telnet.session_failed",
        "token.unchecked",
        "upload.refused",
        "upload_owner.went_away",
        "web.login_failed",
        "webhook.refused",
    }
)
"""Once for each request, or connection, of whoever likes; beside them those that count what they leave out themselves (`count`)."""
ONCE_FOR_A_TASK = frozenset(
    {
        ("services/proxy/finishing", "webhook.refused"),
        ("services/scheduler/placement/handlers", "upload_owner.went_away"),
    }
)
"""Lines of the same name that tell of a decision."""


def test_what_others_cause_at_will_is_never_written_without_a_limit() -> None:
    bounded, unbounded = set[str](), set[str]()
    for path in (*write_logs.SERVICES.rglob("*.py"), *write_logs.SHARED.rglob("*.py")):
        folder = path.parent.relative_to(write_logs.ROOT).as_posix()
        for said, level, fields in write_logs.written_in(ast.parse(path.read_text(encoding="utf-8"))):
            if level != "debug" and (folder, said) not in ONCE_FOR_A_TASK and folder != "libs/common/testing":
                (bounded if {"at_will", "count"} & set(fields) else unbounded).add(said)
    assert bounded >= CAUSED_AT_WILL
    assert not unbounded & CAUSED_AT_WILL
