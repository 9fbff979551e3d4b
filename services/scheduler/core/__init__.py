"""What the scheduler decides: pure. No await, no clock, no random, no log; time is an argument: an Instant, or WallMs for records.

    life        the life of a task as a table of states and steps
    tasks       the next value of a task: how it begins, is tried on a node, and ends
    wishes      the same for what its client wants: cancel, remove, restart
    attempts    how one try ends, and whether another follows
    timeline    the lines that tell the user what the cluster did
    nodes       what is known of each node, how many slots are free
    placement   which node takes a task, and why none does
    ranking     nodes with room in that order, so that a placement looks at few of them
    pace        how fast nodes are, learned from what they completed
    foresight   which tasks wait for a faster node, and why
    registry    all nodes in the order of adding, and which are open
    aims        where the files of uploads go before their commit
    queue       who waits, in order, and who is promised the next free slot
    board       all of it together, indexed, so that a change costs what it changes and not what there is
    demand      what waits without a slot, for the autoscaler
    summary     honest totals, for `GET /info`
    views       nodes and tasks as operators see them
    console     which lines of a console are asked for

Rule 1: whatever affects where a task is or who has a slot is decided here, in one synchronous step, so nothing can
interleave. Rule 2: nothing here knows that there is a network or a disk.
"""
