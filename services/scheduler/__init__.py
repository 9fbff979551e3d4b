"""The scheduler: owns nodes, tasks and the queue; decides which node takes which task, and follows tasks until they end.

    main                                      opens the stories, and gives each what it needs of another
    demand                                    what is told of the whole cluster
    tasks | nodes | placement | forwarding | usage    the stories: api -> handlers -> ports -> core in each
    records | node_client                     what is kept, and how nodes are asked
    registry | task_life | leadership | events | settings
    spans, metrics, readings                  what traces and scrapes are told

It alone writes the buckets of nodes and tasks, of what is told of them, and the consoles (services/__init__.py names them). What is not in a bucket (liveness, reservations, when an upload owner was
last heard) is rebuilt after a start: nodes are probed, slots are reserved for waiting tasks anew, upload owners are given time to
speak up. No request waits for a node, except where the client wants something of that very node.
"""
