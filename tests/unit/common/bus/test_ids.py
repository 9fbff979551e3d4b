"""No two processes make the same id, also when one was forked from the other: NATS would take two messages for one."""

import os

from clusterodm.libs.common.bus.ids import new_id

COUNT = 100


def ids_of_a_forked_process() -> list[str]:
    reads, writes = os.pipe()
    if not (child := os.fork()):
        try:
            os.write(writes, "\n".join(new_id() for _ in range(COUNT)).encode())
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as told:
        made = told.read().split()
    os.waitpid(child, 0)
    return made


def test_processes_that_were_forked_from_one_make_different_ids():
    new_id()
    made = [*ids_of_a_forked_process(), *ids_of_a_forked_process(), *(new_id() for _ in range(COUNT))]

    assert len(set(made)) == 3 * COUNT


def test_an_id_may_stand_in_a_subject_and_in_the_name_of_a_consumer():
    assert all(each.isalnum() and len(each) == 22 for each in (new_id() for _ in range(COUNT)))
