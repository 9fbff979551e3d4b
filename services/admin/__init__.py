"""The admin service: how operators see and steer a cluster. It owns no fact; it asks the scheduler and the autoscaler.

    telnet     a line of text is a command          takeover    nodes and tasks of an existing installation
    web        pages, and /api/v1 behind them       rendering   answers as JSON and as text
    cli        `clusterodm node list`               commands    what can be asked for, carried out over the bus
    tokens     `clusterodm token create`: the file of tokens, without a cluster
    main       telnet and web in one process        login       how fast passwords may be tried
    watching   uploads, samples for plots, events   tenants     what is done with tenants and tokens, whichever way it comes
    signin     sessions, OpenID Connect             access      passwords and roles

One road for all of them: a command (commands/core/commands) is carried out over the bus (commands/handlers), and the answer
(commands/core/answers) is rendered. The order of imports is

    main -> tokens -> telnet | web | cli -> takeover | rendering | signin | watching | tenants -> commands -> settings -> access
    -> login | metrics
"""
