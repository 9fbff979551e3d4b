"""No secret reaches a log line."""

import pytest

from clusterodm.libs.common.telemetry.log import hide, redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("GET /info?token=abc HTTP/1.1", "GET /info?token=*** HTTP/1.1", id="query"),
        pytest.param("/info?a=1&token=abc&b=2", "/info?a=1&token=***&b=2", id="in the middle"),
        pytest.param("nats://abc@127.0.0.1:4222", "nats://***@127.0.0.1:4222", id="authority"),
        pytest.param("https://user:pw@host/x", "https://***@host/x", id="user and password"),
        pytest.param("nats://user:p@w@host:4222", "nats://***@host:4222", id="a password with an at"),
        pytest.param("nats://a:b@one:1,nats://c:d@two:2", "nats://***@one:1,nats://***@two:2", id="several servers"),
        pytest.param("http://node-1/x of me@example.org", "http://node-1/x of me@example.org", id="no authority"),
        pytest.param("https://s3/x?X-Amz-Signature=abc", "https://s3/x?X-Amz-Signature=***", id="presigned"),
        pytest.param("/info?Access_Token=abc;d&x=1", "/info?Access_Token=***&x=1", id="as others call it"),
        pytest.param("https://b/x?sv=1&sig=abc", "https://b/x?sv=1&sig=***", id="signed as in Azure"),
        pytest.param(
            "?X-Amz-Credential=abc&X-Amz-Security-Token=abc",
            "?X-Amz-Credential=***&X-Amz-Security-Token=***",
            id="in S3",
        ),
        pytest.param("took=5 design=3", "took=5 design=3", id="other words"),
        pytest.param("nothing to hide", "nothing to hide", id="plain"),
    ],
)
def test_what_looks_like_a_token_is_hidden(text: str, shown: str):
    assert hide(text) == shown


@pytest.mark.parametrize("field", ["token", "node_token", "admin_password", "api_key", "secretKey"])
def test_a_field_that_is_called_like_a_secret_is_hidden(field: str):
    assert redact(None, "info", {field: "abc"}) == {field: "***"}


def test_other_fields_stay():
    assert redact(None, "info", {"event": "task placed", "node": "a:1", "images": 5}) == {
        "event": "task placed",
        "node": "a:1",
        "images": 5,
    }
