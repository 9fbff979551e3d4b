"""Measurements, side by side with nginx in one run: `make bench`, `make bench ONLY=downloads`.

Machines are noisy, so figures are ratios between subjects measured in turn, of CPU time per request or per gigabyte as the
kernel accounts it to the subject's process tree. Nothing here is a test, and no test depends on a figure.

    __main__   which benchmarks there are, the table, the file of results
    cases      one class per path: prepare, one measured round
    subjects   what is measured: our cluster, nginx as a plain reverse proxy in front of the same node
    processes  CPU time and memory of a process tree, from /proc
"""
