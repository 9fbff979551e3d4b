"""The contract of providers, as tests that anybody runs: `pytest --provider mypackage:Provider` (docs/providers.md).

    trial      what the author of a provider brings: a stand-in of its API, and the keys of the file for it
    failures   what goes wrong, and the ways to make it so: between a provider and an HTTP API, or around programs
    stage      one provider on trial
    suite      the tests
    plugin     pytest's side of it

Nothing here is imported by ClusterODM itself. It needs the extra `clusterodm[contract]`.
"""
