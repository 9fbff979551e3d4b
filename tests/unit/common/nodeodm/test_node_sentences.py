"""What an operator reads when a node does not answer as one."""

import socket

import pytest

from clusterodm.libs.common.errors import NodeFailed
from clusterodm.libs.common.http_io.origins import in_words
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.common.nodeodm.calls import CallAnswer
from clusterodm.libs.common.nodeodm.client import decode

NODE = Node(id=NodeId("n"), hostname="node-1", port=3000, token="s3cret")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            CallAnswer(301, b"", "https://node-1.example:3001/info?token=s3cret"),
            "node-1:3000 redirects to https://node-1.example:3001: register it under the address where it really is",
        ),
        (CallAnswer(302, b"", "/login"), "node-1:3000 redirects to another path: register it"),
        (CallAnswer(302, b"", "http://[::1"), "node-1:3000 redirects to another address: register it"),
        (CallAnswer(302, b"", "javascript:alert(1)"), "node-1:3000 redirects to another path: register it"),
        (CallAnswer(413, b"<html>"), "node-1:3000 answered with status 413 (a proxy in front of it limits bodies)"),
        (CallAnswer(404, b"<html>"), "node-1:3000 answered with status 404 (no NodeODM is there)"),
        (CallAnswer(502, b"<html>"), "node-1:3000 answered with status 502 (a proxy in front of it does not reach it)"),
        (CallAnswer(200, b" <!doctype html>"), "node-1:3000 answered with a web page and not as a NodeODM does"),
        (CallAnswer(200, b"\x00"), "node-1:3000 answered something that NodeODM does not: "),
    ],
)
def test_what_a_node_does_wrong_is_said_with_what_to_do(said: CallAnswer, sentence: str) -> None:
    with pytest.raises(NodeFailed) as failed:
        decode(said, NodeInfo, NODE)
    assert failed.value.message.startswith(sentence)
    assert "s3cret" not in failed.value.message


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name not found"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "its name cannot be looked up now"),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
    ],
)
def test_why_no_connection_came_about_is_said_in_words(error: Exception, words: str) -> None:
    assert in_words(error) == words
