"""Fixtures of the chaos tests: chance with a seed that is printed, and can be given again as CHAOS_SEED."""

import os
import random
import secrets

import pytest

from tests.chaos.saying import say


@pytest.fixture
def seed() -> int:
    """The seed of this run."""
    chosen = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(10**6))
    say(f"CHAOS_SEED={chosen}")
    return chosen


@pytest.fixture
def chance(seed: int) -> random.Random:
    """Chance that can be repeated."""
    return random.Random(seed)
