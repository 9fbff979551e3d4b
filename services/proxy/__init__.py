"""The proxy: the one address that clients know. It answers HTTP, spools uploads and forwards them to nodes.

    main         wires                                         server      ports, the fast path, which story answers which address
    uploads      init, files, commit; what expires             forwarding  a committed task's files on their way to its node
    finishing    webhooks, and inputs that go                  polling     how a task stands, asked again and again
    results      downloads and pages                           actions     cancel, remove, restart
    callbacks    what nodes and machines report and ask        peers       requests about an upload that another proxy holds
    recovery     records that are lost, or older than what was done
    tenants                                                    who checks tokens, and what each tenant may do
    spool | nodes | cluster                                    what stories share: files, nodes, what the scheduler publishes
    splice                                                     bytes that are moved inside the kernel
    settings, exchange | options, errors                       what requests, answers and tasks are made of

A story knows no other: what it needs of one it says in its ports, and main fills it in.
"""
