"""Which command a line is."""

import pytest

from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.services.admin.commands.core import commands
from clusterodm.services.admin.commands.core.commands import NodeAct, TaskAct, UnknownCommand
from clusterodm.services.admin.telnet.core import grammar
from clusterodm.services.admin.telnet.core.grammar import is_http, parse

ID = TaskId("6f9619ff-8b86-4011-b42d-00c04fc964ff")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        pytest.param("NODE ADD host 3000", commands.AddNodeCommand("host", 3000), id="add"),
        pytest.param(
            "node add host 3000 tok", commands.AddNodeCommand("host", 3000, "tok"), id="add with token, lower case"
        ),
        pytest.param(
            "  Node   ADD  host\t3000  ", commands.AddNodeCommand("host", 3000), id="any white space separates"
        ),
        pytest.param("NODE DEL 2", commands.ChangeNodeCommand(NodeAct.DEL, 2), id="del"),
        pytest.param(
            "NODE LOCK 1 more words", commands.ChangeNodeCommand(NodeAct.LOCK, 1), id="extra arguments are ignored"
        ),
        pytest.param(
            "NODE UNLOCK 1abc", commands.ChangeNodeCommand(NodeAct.UNLOCK, commands.NO_NUMBER), id="1abc is no node"
        ),
        pytest.param("NODE LABEL 1 gpu big", commands.LabelNodeCommand(1, ("gpu", "big")), id="labels"),
        pytest.param("NODE LABEL 1", commands.LabelNodeCommand(1), id="no labels"),
        pytest.param("NODE DRAIN 1", commands.DrainNodeCommand(1), id="drain"),
        pytest.param("node drain 1 60", commands.DrainNodeCommand(1, 60), id="drain with a deadline"),
        pytest.param("NODE DEL 1.9", commands.ChangeNodeCommand(NodeAct.DEL, commands.NO_NUMBER), id="1.9 is no node"),
        pytest.param("NODE DEL -1", commands.ChangeNodeCommand(NodeAct.DEL, commands.NO_NUMBER), id="-1 is no node"),
        pytest.param(
            "NODE DEL ²", commands.ChangeNodeCommand(NodeAct.DEL, commands.NO_NUMBER), id="a superscript is no node"
        ),
        pytest.param(
            "NODE INFO " + "9" * 5000, commands.ShowNodeCommand(commands.NO_NUMBER), id="a very long number is no node"
        ),
        pytest.param("NODE LIST", commands.ListNodesCommand(), id="list"),
        pytest.param("NODE UPDATE", commands.UpdateNodesCommand(), id="update"),
        pytest.param("NODE BEST 50", commands.BestNodeCommand(50), id="best"),
        pytest.param("NODE BEST 0", commands.BestNodeCommand(0), id="best for nothing"),
        pytest.param("ROUTE LIST", commands.ListRoutesCommand(None), id="routes"),
        pytest.param("ROUTE LIST 2", commands.ListRoutesCommand(2), id="routes of a node"),
        pytest.param("ROUTE LIST x", commands.ListRoutesCommand(commands.NO_NUMBER), id="routes of no node"),
        pytest.param(f"ROUTE INFO {ID}", commands.ShowRouteCommand(ID), id="route"),
        pytest.param("TASK LIST", commands.ListTasksCommand(None), id="tasks"),
        pytest.param("TASK LIST 1", commands.ListTasksCommand(1), id="tasks of a node"),
        pytest.param(f"TASK INFO {ID}", commands.ShowTaskCommand(ID), id="task"),
        pytest.param(f"TASK OUTPUT {ID}", commands.ShowConsoleCommand(ID, 0), id="console"),
        pytest.param(f"TASK OUTPUT {ID} -5", commands.ShowConsoleCommand(ID, -5), id="last lines"),
        pytest.param(f"TASK CANCEL {ID}", commands.ChangeTaskCommand(TaskAct.CANCEL, ID), id="cancel"),
        pytest.param(f"task remove {ID}", commands.ChangeTaskCommand(TaskAct.REMOVE, ID), id="remove"),
        pytest.param(f"TASK UP {ID}", commands.ChangeTaskCommand(TaskAct.UP, ID), id="up"),
        pytest.param(f"TASK PRIORITY {ID} -3", commands.PrioritizeTaskCommand(ID, -3), id="a low priority"),
        pytest.param(f"TASK PRIORITY {ID} +3", commands.PrioritizeTaskCommand(ID, 3), id="with a sign"),
        pytest.param(f"task priority {ID} 10", commands.PrioritizeTaskCommand(ID, 10), id="a high priority"),
        pytest.param("ASR VIEWCMD 100", commands.ViewMachineCommand(100), id="viewcmd"),
        pytest.param("ASR LIST", commands.ListMachinesCommand(), id="machines"),
        pytest.param("asr status", commands.ShowAutoscalerCommand(), id="autoscaler"),
        pytest.param("ASR DESTROY 2", commands.DestroyMachineCommand(2), id="destroy"),
        pytest.param("ASR DESTROY 0", commands.DestroyMachineCommand(commands.NO_NUMBER), id="destroy no machine"),
        pytest.param("ASR DESTROY x", commands.DestroyMachineCommand(machine=MachineId("x")), id="destroy by name"),
        pytest.param("ASR PAUSE", commands.PauseAutoscalerCommand(), id="pause"),
        pytest.param(
            "ASR PAUSE month is over", commands.PauseAutoscalerCommand("month is over"), id="pause and say why"
        ),
        pytest.param("LOG LEVEL debug", commands.SetLogLevelCommand("debug"), id="log more, all of them"),
        pytest.param("log level WARNING Proxy", commands.SetLogLevelCommand("warning", "proxy"), id="log less, one"),
        pytest.param(
            "LOG LEVEL loud", commands.UnknownCommand("loud is no level: debug, info, warning, error"), id="no level"
        ),
        pytest.param(
            "LOG LEVEL info nats",
            commands.UnknownCommand("nats is no service: proxy, scheduler, autoscaler, admin"),
            id="no service",
        ),
        pytest.param("ASR RESUME", commands.ResumeAutoscalerCommand(), id="resume"),
    ],
)
def test_a_line_is_the_command_that_it_says(line: str, command: commands.Command):
    assert parse(line) == command


@pytest.mark.parametrize(
    "line",
    [
        "",
        "   ",
        "FOO",
        "NODE",
        "ROUTE",
        "TASK",
        "ASR",
        "NODE FOO",
        "TASK FOO",
        "ROUTE FOO",
        "NODE ADD",
        "NODE ADD host",
        "NODE ADD host x",
        "NODE ADD host 0",
        "NODE ADD host 65536",
        "NODE DEL",
        "NODE LOCK",
        "NODE INFO",
        "NODE BEST",
        "NODE BEST abc",
        "NODE BEST -1",
        "NODE LABEL",
        "TASK UP",
        "TASK PRIORITY x",
        "TASK PRIORITY x high",
        "ROUTE INFO",
        "TASK INFO",
        "TASK OUTPUT",
        f"TASK OUTPUT {ID} abc",
        f"TASK OUTPUT {ID} --5",
        "TASK CANCEL",
        "TASK REMOVE",
        "ASR VIEWCMD",
        "ASR VIEWCMD 1abc",
    ],
)
def test_what_is_no_command_is_unknown(line: str):
    assert isinstance(parse(line), UnknownCommand)


def test_help_has_a_line_for_every_command_and_one_for_the_repetition():
    assert len(grammar.HELP) == len(grammar.GRAMMAR) + 1
    described = {tuple(line.split()[:2]) for line in grammar.HELP}
    assert set(grammar.GRAMMAR) < described


def test_a_token_does_not_show_when_a_command_is_printed():
    assert "s3cret" not in repr(parse("NODE ADD host 3000 s3cret"))


@pytest.mark.parametrize(
    ("line", "is_from_browser"),
    [
        ("GET / HTTP/1.1", True),
        ("POST /NODE%20DEL%201 HTTP/1.0 ", True),
        ("PRI * HTTP/2", True),
        ("host: localhost:8080", True),
        ("Host:", True),
        ("NODE ADD host 3000", False),
        ("NODE ADD localhost 3000 HTTP/1.1", False),
        ("HOST", False),
        ("TASK INFO GET", False),
        ("", False),
    ],
)
def test_what_a_browser_sends_is_recognised(line: str, is_from_browser: bool):
    assert is_http(line) is is_from_browser
