"""What of an upload goes ahead of its commit, and when that ends."""

import pytest

from clusterodm.services.proxy.forwarding.core.stage_in import (
    IDLE_S,
    UNDECIDED_S,
    PendingFiles,
    StagedUpload,
    why_afresh,
    why_end,
)


def test_files_are_taken_once_in_the_order_in_which_they_came():
    pending = PendingFiles()
    pending.add([("a.jpg", 1), ("gcp.txt", 2)])
    pending.add([("a.jpg", 1), ("b.jpg", 3)])
    assert [pending.take() for _ in range(4)] == ["a.jpg", "gcp.txt", "b.jpg", None]
    assert (pending.sizes, pending.images_count) == ({"a.jpg": 1, "gcp.txt": 2, "b.jpg": 3}, 2)


def test_another_node_begins_with_all_of_them():
    pending = PendingFiles()
    pending.add([("a.jpg", 1), ("b.jpg", 2)])
    pending.take()
    pending.put_back()
    assert [pending.take() for _ in range(3)] == ["a.jpg", "b.jpg", None]


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        pytest.param(StagedUpload(), "", id="files come"),
        pytest.param(StagedUpload(idle_s=IDLE_S), "", id="a pause"),
        pytest.param(StagedUpload(idle_s=IDLE_S + 1), "nothing comes any more", id="a long pause"),
        pytest.param(StagedUpload(idle_s=IDLE_S + 1, receiving=True), "", id="a large file"),
        pytest.param(StagedUpload(committed=True, idle_s=IDLE_S + 1), "", id="committed, not placed yet"),
        pytest.param(
            StagedUpload(committed=True, idle_s=UNDECIDED_S + 1),
            "it has not been placed for too long",
            id="never placed",
        ),
        pytest.param(StagedUpload(exists=False), "the upload is gone", id="gone"),
        pytest.param(StagedUpload(same_fields=False), "the task was begun again with other fields", id="another init"),
        pytest.param(
            StagedUpload(same_fields=False, committed=True),
            "the task was begun again with other fields",
            id="another init, then committed",
        ),
    ],
)
def test_it_ends_when_something_may_have_changed_or_nobody_goes_on(seen: StagedUpload, reason: str):
    assert why_end(seen) == reason


@pytest.mark.parametrize(
    ("same_fields", "sent", "files", "goes_on"),
    [
        pytest.param(True, {}, {"a": 1}, True, id="nothing sent yet"),
        pytest.param(True, {"a": 1}, {"a": 1, "b": 2}, True, id="a part of it"),
        pytest.param(True, {"a": 1, "b": 2}, {"a": 1, "b": 2}, True, id="all of it"),
        pytest.param(True, {"a": 1, "c": 3}, {"a": 1, "b": 2}, False, id="a file that is not in it"),
        pytest.param(True, {"a": 2}, {"a": 1}, False, id="another size"),
        pytest.param(False, {"a": 1}, {"a": 1}, False, id="other fields"),
    ],
)
def test_an_attempt_goes_on_only_when_the_node_would_have_the_same_in_the_end(
    same_fields: bool, sent: dict[str, int], files: dict[str, int], goes_on: bool
):
    assert (why_afresh(same_fields=same_fields, sent=sent, files=files) == "") is goes_on
