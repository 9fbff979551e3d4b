"""The scheduler: owns nodes, tasks and the queue; decides which node takes which task, and follows tasks until they end.

    main -> api -> handlers | adapters -> ports -> settings -> core

It alone writes the buckets `nodes`, `tasks`, `summary` and `options`. What is not in a bucket (liveness, promises, when a holder was
last heard) is rebuilt after a start: nodes are probed, waiting tasks are promised slots anew, holders are given time to
speak up. No request waits for a node, except where the client wants something of that very node.
"""
