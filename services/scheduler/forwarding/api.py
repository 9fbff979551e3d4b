"""The story of forwarding: which requests it answers, and what goes on by itself. It is opened by making its handlers."""

from typing import Any

from libs.common import messages
from libs.common.lifecycle import Crew
from libs.common.loops import Start
from libs.common.messages import Request
from libs.common.ports import Handler
from services.scheduler.forwarding.handlers import ForwardingReports
from services.scheduler.leadership import repeated


def forwarding_requests(handlers: ForwardingReports) -> dict[Request[Any, Any], Handler]:
    """Name the handler of each request."""
    return {
        messages.RENEW_ATTEMPT: handlers.renew,
        messages.REPORT_FORWARDED: handlers.forwarded,
        messages.REPORT_FORWARD_FAILED: handlers.failed,
        messages.REPORT_INPUTS_GONE: handlers.inputs_gone,
    }


def forwarding_loops(handlers: ForwardingReports, crew: Crew) -> dict[str, Start]:
    """Name everything that goes on by itself."""
    return {"check forwarding": repeated(lambda: handlers.watch(crew), "check forwarding")}
