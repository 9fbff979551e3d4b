"""Whose task it is."""

import hashlib

import pytest

from clusterodm.libs.common.identity import may_touch, owner_of
from clusterodm.libs.common.model.values import Owner


@pytest.mark.parametrize("token", [None, ""])
def test_no_token_and_the_empty_token_are_the_same_owner(token: str | None):
    assert owner_of(token) == ""


def test_an_owner_is_the_beginning_of_the_tokens_digest():
    assert owner_of("secret") == hashlib.sha256(b"secret").hexdigest()[:32]


def test_different_tokens_are_different_owners():
    assert owner_of("secret") != owner_of("Secret")


@pytest.mark.parametrize(
    ("client", "owner", "reached"),
    [("", "", True), ("x", "x", True), ("x", "", True), ("", "x", True), ("x", "y", False)],
)
def test_only_two_different_tokens_keep_apart(client: str, owner: str, reached: bool):
    assert may_touch(Owner(client), Owner(owner)) is reached
