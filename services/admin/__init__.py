"""The admin service: how operators see and steer a cluster. It owns no fact; it asks the scheduler and the autoscaler.

    api/telnet   the words over a plain TCP connection        api/cli   the same words as `clusterodm node list` ...
    api/web      a page of nodes and tasks, and its JSON      main      both servers in one process

One road for all of them: a command (core/words) is carried out over the bus (handlers/words), the answer
(core/answers) is rendered as the telnet text, as JSON or as a table (core/text, core/shapes, core/tables).
"""
