"""Tenants and tokens as their file holds them."""

from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.identity import owner_of
from clusterodm.libs.common.tenancy import ShownToken, TokenBook, digest_of, limits_of, read_tokens, shown
from clusterodm.libs.common.untrusted import Malformed

NOW = WallMs(1_000)


def file_with(tenant: dict[str, Any] | None = None, *tokens: dict[str, Any]) -> bytes:
    """Write a file."""
    return msgspec.json.encode({"tenants": [{"name": "survey"} | (tenant or {})], "tokens": list(tokens)})


def token(text: str = "sesame", **more: Any) -> dict[str, Any]:
    """Write one token."""
    return {"id": "a", "tenant": "survey", "sha256": digest_of(text)} | more


@pytest.mark.parametrize(
    ("text", "more", "speaks"),
    [
        pytest.param("sesame", {}, True, id="valid"),
        pytest.param("sesam", {}, False, id="unknown"),
        pytest.param("", {}, False, id="none"),
        pytest.param("sesame", {"expires_at_ms": 1_001}, True, id="not expired yet"),
        pytest.param("sesame", {"expires_at_ms": 1_000}, False, id="expired"),
        pytest.param(digest_of("sesame"), {}, False, id="its digest"),
    ],
)
def test_a_token_speaks_for_its_tenant_while_it_counts(text: str, more: dict[str, Any], speaks: bool) -> None:
    book = TokenBook(read_tokens(file_with(None, token(**more))))
    tenant = book.tenant_of(shown(text), NOW)
    assert (tenant is not None) is speaks
    assert tenant is None or tenant.account == "survey"


def test_the_digest_that_stands_for_nobody_lets_nobody_in() -> None:
    book = TokenBook(read_tokens(file_with()))
    assert book.tenant_of(ShownToken("anything", "0" * 64), NOW) is None


def test_a_tenant_may_own_the_tasks_of_a_token_that_had_no_name() -> None:
    book = TokenBook(read_tokens(file_with({"owner": owner_of("sesame")}, token())))
    tenant = book.tenant_of(shown("sesame"), NOW)
    assert tenant is not None
    assert tenant.account == owner_of("sesame")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "truncated", id="empty"),
        pytest.param(b'{"tokens": 5}', "Expected `array`", id="another shape"),
        pytest.param(file_with({"max_image": 5}), "max_image", id="a limit with a typing error"),
        pytest.param(file_with({"options": {"split": {"betwen": {}}}}), "betwen", id="a limit of an option"),
        pytest.param(file_with({"name": "Survey"}), "no name of a tenant", id="a name"),
        pytest.param(
            file_with({"name": "0123456789abcdef0123456789abcdef"}), "no name of a tenant", id="like an owner"
        ),
        pytest.param(file_with({"weight": 0}), "weight must be 1 to 1000", id="no weight"),
        pytest.param(file_with({"priority": 11}), "priority must be -10 to 10", id="a priority"),
        pytest.param(file_with({"labels": ["gpu", "a b"]}), "'a b' is no label", id="a label"),
        pytest.param(file_with({"storage_bytes": -1}), "storage_bytes is negative", id="a negative limit"),
        pytest.param(file_with({"owner": "bert"}), "owner is no digest", id="an owner"),
        pytest.param(file_with(None, token(tenant="bert")), "'bert', which there is not", id="an unknown tenant"),
        pytest.param(file_with(None, token(sha256="abc")), "sha256 is no digest", id="no digest"),
        pytest.param(file_with(None, token("")), "would let everybody in", id="the empty token"),
        pytest.param(file_with(None, token(), token("b")), "two tokens 'a'", id="an id twice"),
        pytest.param(file_with(None, token(), token(id="b")), "same token", id="a token twice"),
    ],
)
def test_a_file_with_a_mistake_is_refused_as_a_whole_with_one_line(content: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refused:
        read_tokens(content)
    assert "\n" not in refused.value.message
    assert digest_of("sesame") not in refused.value.message


def test_nothing_that_is_shown_of_a_token_holds_it() -> None:
    book = read_tokens(file_with(None, token()))
    assert digest_of("sesame") not in repr(book)
    assert "sesame" not in repr(shown("sesame"))


def test_limits_of_a_provider_are_read_as_far_as_they_are_known() -> None:
    said = {"split": {"domain": "integer > 5", "later": 1, "between": {"max": 3, "more": 1}}, "odd": 5}
    limits = limits_of(said)
    assert limits["split"].domain == "integer > 5"
    assert limits["split"].between is not None
    assert limits["split"].between.max == 3
    assert "odd" not in limits
    with pytest.raises(Malformed, match="later"):
        limits_of(said, lenient=False)
