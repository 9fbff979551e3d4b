"""What log lines are called: `noun.verb_past`. Sentences are few, and known."""

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
