"""The four services: who asks whom, and who tells what.

    proxy       the clients' HTTP API, uploads and their forwarding, downloads
    scheduler   nodes, tasks, the queue: every decision about what runs where
    autoscaler  machines: turns demand into rented computers and back
    admin       operators: telnet, web, and the words of the command line

    who         asks                                          answers                tells                    follows
    ----------  --------------------------------------------  ---------------------  -----------------------  ------------------------
    proxy       scheduler: submit, place, renew, report,      the clients            hint.finish_reported,    nodes tasks summary
                list, console, cancel, remove, restart;       (HTTP)                 KV uploads               options uploads (KV),
                the nodes (HTTP)                                                                              hint.placement_possible
    scheduler   the nodes (HTTP): info, options, tasks        scheduler.*            node.* task.*            hint.finish_reported,
                                                                                     hint.placement_possible  supply.changed
                                                                                     demand.changed,
                                                                                     KV nodes tasks summary
                                                                                     options
    autoscaler  scheduler: add, lock, remove, lose, list      autoscaler.*           machine.*                demand.changed,
                nodes; the providers of machines                                     supply.changed,          tasks nodes (KV)
                                                                                     KV machines
    admin       scheduler.*, autoscaler.*                     operators              -                        -

Services know each other by messages only (libs/common/messages.py): none imports another, and a fact is written by the one
service that owns it. Inside each the order of imports is

    main -> api -> handlers | adapters -> ports -> settings -> core -> libs.common

and import-linter holds it ([tool.importlinter] in pyproject.toml).
"""
