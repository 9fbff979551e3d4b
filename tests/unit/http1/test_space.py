"""Few connections read much at once, many a little each."""

import pytest

from clusterodm.libs.http1.space import FEW_COUNT, LARGE_BYTES, MANY_COUNT, SMALL_BYTES, TINY_BYTES, Space


@pytest.mark.parametrize(
    ("readers_count", "size_bytes"),
    [
        pytest.param(1, LARGE_BYTES, id="one"),
        pytest.param(FEW_COUNT, LARGE_BYTES, id="few"),
        pytest.param(FEW_COUNT + 1, SMALL_BYTES, id="many"),
        pytest.param(MANY_COUNT + 1, TINY_BYTES, id="a crowd"),
    ],
)
def test_what_is_read_at_once_fits_the_number_of_readers(readers_count: int, size_bytes: int) -> None:
    space = Space(MANY_COUNT)
    space.readers_count = readers_count

    assert len(space.view()) == size_bytes


def test_what_was_taken_out_stays_as_it_was() -> None:
    space = Space()
    space.view()[:3] = b"one"
    taken = space.taken(3)
    space.view()[:3] = b"two"

    assert taken == b"one"
