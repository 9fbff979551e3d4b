"""Whose task it is."""

import hashlib

import pytest

from libs.common.identity import owner_of


@pytest.mark.parametrize("token", [None, ""])
def test_no_token_and_the_empty_token_are_the_same_owner(token: str | None):
    assert owner_of(token) == ""


def test_an_owner_is_the_beginning_of_the_tokens_digest():
    assert owner_of("secret") == hashlib.sha256(b"secret").hexdigest()[:32]


def test_different_tokens_are_different_owners():
    assert owner_of("secret") != owner_of("Secret")
