"""What happens, in order: load, decide, do, tell.

office     the right to decide, while it lasts; why nothing is placed twice
ledger     the one writer: board in memory, records in the buckets, one lock per task
voice      logs and tells what happened, once
nodes      add, remove, lock, unlock, list, update, best
probing    asks every node how it is, off the request path
commits    submit a task, take one over from the original cluster
placing    gives free slots to those who ask, begins attempts
polls      the questions of holders that are open
hints      tells those who ask for single tasks when to ask, and who leads
explaining tells users why their tasks wait
forwarding follows the holders while they send; finds out what became of attempts that nobody knows about
tracking   looks at running tasks until they end
memory     writes again what the last term knew when the store is lost under it
losing     gives up attempts on nodes that are silent for too long
actions    cancel, remove, restart
draining   sees nodes off that are to leave
absence    says for which proxy a task waits; fails it when that does not come back
cleaning   tells nodes of attempts that are over for us; forgets what is old
consoles   keeps the whole console of a task that has ended
reading    get, list, console
calm       what loops do while NATS is away
totals     keeps summary, demand and the list of options up to date
"""
