"""spool/adapters/claims.py: who announces much keeps nobody out, and of requests that do not fit together one comes to its end."""

from pathlib import Path

import pytest

from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.services.proxy.errors import SpoolFull
from clusterodm.services.proxy.spool.adapters.claims import (
    ASK_EVERY_BYTES,
    FIRST_BYTES,
    FIRST_SHARE,
    LAPSE_S,
    LIVELY_BYTES_PER_S,
    Claim,
    Claims,
)
from clusterodm.services.proxy.spool.adapters.free_space import FreeSpace

MB = 1 << 20
CHUNK_BYTES = 256 << 10


class SmallDisk(FreeSpace):
    """A disk in memory."""

    def __init__(self, size_bytes: int, clock: FakeClock) -> None:
        super().__init__(Path("/nowhere"), clock, reserve_bytes=0)
        self.size_bytes = size_bytes
        self.told_bytes = 0
        """What it was told of beside what it was asked."""
        self.said_bytes: int | None = None
        """What it said a moment ago, where that counts still."""

    def left_bytes(self) -> int:
        return self.size_bytes if self.said_bytes is None else self.said_bytes

    def present_bytes(self) -> int:
        return self.size_bytes

    def taken(self, count_bytes: int) -> None:
        self.told_bytes += count_bytes

    def write(self, count_bytes: int) -> None:
        self.size_bytes -= count_bytes


class Uploads:
    """Requests that write on one disk."""

    def __init__(self, size_bytes: int) -> None:
        self.clock = FakeClock()
        self.disk = SmallDisk(size_bytes, self.clock)
        self.claims = Claims(self.disk, self.clock)
        self.left_behind_bytes = 0
        """What refused requests have written and nobody has removed yet."""

    def begin(self, expected_bytes: int) -> Claim:
        return self.claims.begin(expected_bytes)

    def write(self, claim: Claim, count_bytes: int) -> None:
        """Write as a request does, piece by piece; refused, what it has written stays until `remove`."""
        for _ in range(count_bytes // CHUNK_BYTES):
            try:
                claim.take(CHUNK_BYTES)
            except SpoolFull:
                self.claims.end(claim)
                self.left_behind_bytes += claim.taken_bytes - CHUNK_BYTES
                raise
            self.disk.write(CHUNK_BYTES)

    def remove(self) -> None:
        """Remove what refused requests have written."""
        self.disk.write(-self.left_behind_bytes)
        self.left_behind_bytes = 0


class Moved:
    """A file whose bytes are moved inside the kernel."""

    size_bytes = 0
    present_bytes = 0


def test_who_announces_the_whole_disk_and_is_silent_keeps_nobody_out() -> None:
    uploads = Uploads(1000 * MB)
    for _ in range(20):
        uploads.begin(1000 * MB)
    honest = uploads.begin(600 * MB)
    uploads.write(honest, 600 * MB)
    assert honest.taken_bytes == 600 * MB


@pytest.mark.parametrize("free_mb", [300, 3_000, 300_000])
def test_many_silent_requests_claim_half_of_the_room_at_most_and_each_a_photo(free_mb: int) -> None:
    uploads = Uploads(free_mb * MB)
    claims = [uploads.begin(free_mb * MB) for _ in range(128)]
    assert sum(claim.claimed_bytes for claim in claims) <= free_mb * MB // 2
    assert max(claim.claimed_bytes for claim in claims) <= FIRST_BYTES
    uploads.write(uploads.begin(free_mb * MB // 3), 100 * MB)


def test_who_has_sent_much_and_drips_then_keeps_nobody_out() -> None:
    uploads = Uploads(1000 * MB)
    dripping = uploads.begin(1000 * MB)
    uploads.write(dripping, 300 * MB)
    with pytest.raises(SpoolFull):
        uploads.write(uploads.begin(600 * MB), 600 * MB)
    uploads.remove()
    for _ in range(60):
        uploads.clock.pass_s(60)
        uploads.write(dripping, CHUNK_BYTES)
    uploads.write(uploads.begin(600 * MB), 600 * MB)
    with pytest.raises(SpoolFull):
        uploads.write(dripping, 100 * MB)


def test_a_body_that_the_disk_cannot_hold_is_refused_at_once() -> None:
    uploads = Uploads(1000 * MB)
    with pytest.raises(SpoolFull):
        uploads.begin(1000 * MB + 1)
    uploads.begin(1000 * MB)
    assert repr(uploads.claims) == f"Claims(1 claimed={1000 * MB // FIRST_SHARE})"


def test_a_disk_that_was_full_a_moment_ago_is_asked_again_before_it_refuses() -> None:
    uploads = Uploads(1000 * MB)
    uploads.disk.said_bytes = 0
    uploads.write(uploads.begin(10 * MB), 10 * MB)


@pytest.mark.parametrize("sizes_mb", [(500, 500), (700, 300), (1, 999), (250, 250, 250, 250), (20, 20, 960)])
def test_requests_that_fit_are_all_taken(sizes_mb: tuple[int, ...]) -> None:
    uploads = Uploads(1000 * MB)
    claims = [uploads.begin(size * MB) for size in sizes_mb]
    while any(claim.taken_bytes < size * MB for claim, size in zip(claims, sizes_mb, strict=True)):
        for claim, size in zip(claims, sizes_mb, strict=True):
            uploads.write(claim, min(MB, size * MB - claim.taken_bytes))
    assert uploads.disk.size_bytes == 0


@pytest.mark.parametrize(
    ("sizes_mb", "speeds_mb"),
    [
        pytest.param((600, 600), (1, 1), id="two of one size"),
        pytest.param((600, 500), (1, 1), id="two of different sizes"),
        pytest.param((600, 600), (1, 9), id="one is faster"),
        pytest.param((900, 200), (1, 1), id="a large one"),
        pytest.param((999, 999), (3, 2), id="each needs nearly all"),
        pytest.param((400, 500, 600, 700), (1, 2, 3, 4), id="four"),
    ],
)
def test_of_requests_that_do_not_fit_one_is_refused_early_and_another_comes_to_its_end(
    sizes_mb: tuple[int, ...], speeds_mb: tuple[int, ...]
) -> None:
    uploads = Uploads(1000 * MB)
    going = {uploads.begin(size * MB): (size * MB, speed * MB) for size, speed in zip(sizes_mb, speeds_mb, strict=True)}
    refused, completed, rounds_count = list[float](), list[int](), 0
    while going:
        rounds_count += 1
        if rounds_count % 20 == 0:  # removing takes a while
            uploads.remove()
        for claim, (size_bytes, speed_bytes) in list(going.items()):
            try:
                uploads.write(claim, min(speed_bytes, size_bytes - claim.taken_bytes))
            except SpoolFull:
                refused.append(claim.taken_bytes / size_bytes)
                del going[claim]
                continue
            if claim.taken_bytes >= size_bytes:
                completed.append(size_bytes)
                uploads.claims.end(claim)
                del going[claim]
    assert completed
    assert max(refused) <= 0.51


def test_a_request_is_not_refused_beyond_the_half_of_its_body() -> None:
    uploads = Uploads(1000 * MB)
    claim = uploads.begin(800 * MB)
    uploads.write(claim, 401 * MB)
    with pytest.raises(SpoolFull):
        uploads.write(uploads.begin(590 * MB), 590 * MB)
    uploads.write(claim, 399 * MB)


def test_what_the_disk_was_asked_about_is_not_taken_off_once_more_at_the_end() -> None:
    uploads = Uploads(1000 * MB)
    large, small = uploads.begin(400 * MB), uploads.begin(MB // 2)
    uploads.write(large, 400 * MB - CHUNK_BYTES)
    uploads.write(small, CHUNK_BYTES)
    for _ in range(2):
        uploads.claims.end(large)
    assert uploads.disk.told_bytes == 3 * CHUNK_BYTES
    uploads.claims.end(small)
    assert uploads.disk.told_bytes == 4 * CHUNK_BYTES


def test_a_disk_that_others_fill_refuses_who_grows() -> None:
    uploads = Uploads(1000 * MB)
    claim = uploads.begin(500 * MB)
    uploads.write(claim, 10 * MB)
    uploads.disk.size_bytes = 10 * MB
    with pytest.raises(SpoolFull):
        uploads.write(claim, 5 * MB)
    assert repr(uploads.claims) == "Claims(0 claimed=0)"


def test_a_body_of_unknown_length_claims_little_and_grows_as_long_as_there_is_room() -> None:
    uploads = Uploads(100 * MB)
    claim = uploads.begin(0)
    assert claim.claimed_bytes == ASK_EVERY_BYTES
    with pytest.raises(SpoolFull):
        uploads.write(claim, 101 * MB)
    assert claim.taken_bytes > 98 * MB


def test_what_is_moved_inside_the_kernel_does_not_count_twice() -> None:
    uploads = Uploads(100 * MB)
    moving = uploads.begin(60 * MB)
    uploads.write(moving, 30 * MB)
    moving.moving = moved = Moved()
    moved.present_bytes = 25 * MB
    uploads.disk.write(25 * MB)
    uploads.write(uploads.begin(40 * MB), 40 * MB)


def test_a_claim_lapses_when_less_comes_than_is_worth_it() -> None:
    uploads = Uploads(1000 * MB)
    claim = uploads.begin(1000 * MB)
    uploads.write(claim, 200 * MB)
    assert claim.measure(uploads.clock.instant()) == claim.claimed_bytes == 200 * MB
    uploads.clock.pass_s(LAPSE_S)
    assert claim.measure(uploads.clock.instant()) == 200 * MB
    uploads.clock.pass_s(0.1)
    assert claim.measure(uploads.clock.instant()) == ASK_EVERY_BYTES
    claim.moving = moved = Moved()
    moved.present_bytes = LIVELY_BYTES_PER_S
    assert claim.measure(uploads.clock.instant()) == 200 * MB - LIVELY_BYTES_PER_S
