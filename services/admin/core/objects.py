"""Answers as JSON: `value` is what telnet shows of an answer that is an object, `document` any answer for `--json`."""

from typing import Any

from services.admin.core import shapes
from services.admin.core.answers import (
    Acted,
    Answer,
    Autoscaler,
    Away,
    Best,
    ConsoleLines,
    Invalid,
    MachineCommand,
    Machines,
    No,
    Nodes,
    Ok,
    OneNode,
    OneRoute,
    OneTask,
    Routes,
    Tasks,
    Told,
    Trouble,
)


def value(answer: Answer) -> Any:
    """Put an answer that is an object into JSON."""
    match answer:
        case Acted(error):
            return {"success": False, "error": error} if error else {"success": True}
        case Trouble(error):
            return {"error": error}
        case Autoscaler(status):
            return shapes.autoscaler_status(status)
        case _:
            return fact(answer)


def fact(answer: Answer) -> Any:
    """Put what the cluster knows of something into JSON."""
    match answer:
        case OneNode(node):
            return shapes.node_data(node)
        case OneTask(task, node_name):
            return shapes.task_data(task, node_name)
        case OneRoute(route):
            return shapes.route_entry(route)
        case Routes(routes):
            return {route.task: shapes.route_entry(route) for route in routes}
        case Tasks(tasks):
            return [shapes.task_entry(task) for task in tasks]
        case _:
            return None


def document(answer: Answer) -> Any:
    """Put any answer into one JSON document."""
    match answer:
        case Ok():
            return {"success": True}
        case Told(text):
            return {"success": True, "message": text}
        case No(reason) | Invalid(reason) | Away(reason):
            return {"success": False, "error": reason}
        case Nodes(nodes):
            return [shapes.node_entry(node) for node in nodes]
        case _:
            return small_document(answer)


def small_document(answer: Answer) -> Any:
    """Put the answers into JSON that telnet shows as a line or lines."""
    match answer:
        case Best(node):
            return None if node is None else shapes.node_entry(node)
        case ConsoleLines(lines):
            return list(lines)
        case MachineCommand(command):
            return {"command": command}
        case Machines(machines):
            return [shapes.machine_entry(view) for view in machines]
        case _:
            return value(answer)
