"""Which scheduler's word counts."""

from clusterodm.services.proxy.forwarding.core.decisions import FORGOTTEN_AFTER_S, Epochs


def test_the_word_of_an_earlier_term_does_not_count():
    epochs = Epochs()
    assert epochs.counts(7, now=0)
    assert not epochs.counts(6, now=1)
    assert epochs.counts(7, now=2)
    assert epochs.counts(8, now=3)
    assert not epochs.counts(7, now=4)


def test_a_scheduler_that_knows_of_no_terms_counts():
    epochs = Epochs()
    assert epochs.counts(7, now=0)
    assert epochs.counts(0, now=1)
    assert epochs.highest == 7


def test_a_cluster_that_began_anew_is_believed_when_the_old_one_is_silent():
    epochs = Epochs()
    assert epochs.counts(700, now=0)
    assert not epochs.counts(3, now=FORGOTTEN_AFTER_S - 1)
    assert epochs.counts(3, now=FORGOTTEN_AFTER_S)
    assert epochs.counts(4, now=FORGOTTEN_AFTER_S + 1)
