"""The autoscaler: turns demand into machines and back. It owns every fact about machines.

It consumes the scheduler's demand as a *snapshot*, so that a lost or doubled message does no harm, plans in a pure core
what to create, drain and destroy (planning/core/plan.py), and carries machines through their life (machine_life/life.py), each step
written before it is done. What is at the provider is compared with what is written at the start and every few minutes.

    main          wires the process                                          assembly  puts together what acts while this process leads
    server        which handler answers which request
    commands      what operators ask                                         boot_logs what machines say while they boot
    planning      the loop: look, plan, do
    machines      carries each machine through its life, and compares all with the provider's list
    providers     who rents machines out, a module or folder each            results   where results lie in a bucket
    records       the machines' records, their changes, their events         cluster   what the scheduler knows
    identity      which ids and keys are ours, and whether we are paused     config    the `--asr` file
    machine_life  a machine's states and steps; what became of machines      orders    what providers are asked for
    leadership    which autoscaler leads                                     boot_lines what is said of boots, until it is kept
    asr_words     `clusterodm asr check|plan|snapshot`, without a cluster    readings, metrics   what scrapes read
    settings

Each knows those below it only: a command shows or steers the plan, a plan acts on machines, a machine is had of a provider.
"""
