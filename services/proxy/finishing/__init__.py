"""Finishing: what is done when a held task has ended, its client's webhook first; and which inputs go before that."""
