"""A NodeODM that processes nothing: for demos, tests and benchmarks.

It speaks NodeODM's HTTP API (2.2.4) well enough that PyODM, WebODM, ODM's
split-merge and our own proxy cannot tell, takes real uploads, and answers with
an all.zip made from them. `tests/contract/test_node.py` runs the same suite
against this program and against a real NodeODM: where the two differ, this one
is wrong.

    tasks     console     options  records  pure: time is an argument
    store     results     forms             files on disk, streamed
    node      events                        one node: the pure parts wired to the files, the events, the clock
    app       wire        gate              HTTP: routes (/sim/... for tests), shapes, what happens to every request
    outside                                 webhooks and zip downloads: what a node asks of the world
    settings  main                          flags, wiring
    testing                                 `NodeSimProcess`: a node as a real process, for other tests

What NodeODM does by accident and clients meet in the field (a second upload of
a name kept as `IMG_.JPG`, a truncated file kept, data forgotten after a crash)
is done here on purpose. What would stop the real program (a NUL in a file
name, and in test mode a number among the options) is not.
"""
