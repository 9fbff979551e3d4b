"""The autoscaler: turns demand into machines and back. It owns every fact about machines.

It consumes the scheduler's demand as a *snapshot*, so that a lost or doubled message does no harm, plans in a pure core
what to create, drain and destroy (planning/core/plan.py), and carries machines through their life (machine_life/life.py), each step
written before it is done. What is at the provider is compared with what is written at the start and every few minutes.

    main > server > commands > planning > machines > providers | results > records | cluster | identity | config
         > machine_life | orders | leadership | settings

An operator's command shows or steers the plan, a plan acts on machines, a machine is had of a provider.
"""
