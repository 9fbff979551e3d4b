"""The autoscaler: turns demand into machines and back. It owns every fact about machines.

It consumes the scheduler's demand as a *snapshot*, so that a lost or doubled message does no harm, plans in a pure core
what to create, drain and destroy (core/planning.py), and carries machines through their life (core/life.py), each step
written before it is done. What is at the provider is compared with what is written at the start and every few minutes.

    main -> api -> handlers | adapters -> ports -> settings -> core
"""
