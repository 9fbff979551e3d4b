"""The scheduler in simulated time, and what would have been best.

    trace      nodes and tasks of a run: synthetic ones by seed, recorded ones as JSON [pure]
    world      plays a trace: events in order, a decider that places [pure]
    deciders   the scheduler's real core; and one that knows speeds and sizes, for comparison [pure]
    optimum    the shortest possible makespan by search, bounds where that takes too long [pure]
    outcome    makespan, waiting, fairness [pure]
    recorder   makes a trace from what a running cluster has on record

Simplifications: a task runs on a slot for `work / speed`, whatever else the node does; transfers take no time.
"""
