"""Libraries that the services share. No library knows a service.

common      what every service speaks: model, messages, errors, settings; bus, store, NodeODM client, lifecycle, logs, metrics
http1       HTTP/1.1 for both directions, without I/O
nodesim     a NodeODM that processes nothing, for demos and tests
machinesim  clouds that rent out nothing, for tests
"""
