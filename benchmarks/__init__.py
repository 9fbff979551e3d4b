"""Measurements side by side with peers in one run: `make bench`, `make bench ONLY=downloads`, `make profile`, `make simulate`.

Machines are noisy, so figures are ratios between contenders that are measured in turn, of CPU time per request or per
gigabyte as the kernel accounts it to the processes of each. What sends and what receives is never counted. Nothing here is a
test, and no test depends on a figure.

    __main__    what is asked for: runs the cases, prints, writes docs/performance.md and its plots
    cases/      one class per path: who is measured, one round
    stages      what cases are played on
    subjects    our cluster and the peers as processes      peers/   their configurations and programs
    stub        the node behind everything; keeps nothing
    load        clients      forward  senders      core  the scheduler's decisions alone
    figures     medians, ratios, tables [pure]      targets  what is to be reached [pure]      plots  the drawings
    processes   CPU time and memory from /proc      programs  other people's programs
    flames      flame graphs of each path: `make profile`
    simulate    the scheduler's core in simulated time: `make simulate`      simulation/  its parts
    simulate_autoscaler  the autoscaler's decisions in simulated time, its second half; writes docs/autoscaler.md
    simulate_use  bursts of small tasks and a trickle, by billing and use of machines; its second table
"""
