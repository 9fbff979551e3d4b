"""Libraries that the services share. No library knows a service.

common    what every service speaks: model, messages, errors, settings; bus, store, NodeODM client, lifecycle, logs, metrics
nodesim   a NodeODM that processes nothing, for demos and tests
"""
