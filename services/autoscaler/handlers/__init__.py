"""What the autoscaler does, in order.

records      the machines' records: the one writer
keeping      what outlives every machine: cluster id, key, whether it is paused
tasks        what the tasks' records say about nodes: who is where, who waits
cluster      what is asked of the scheduler
voice        events and log lines
lives        does the work of a machine's state, until it has none to do
fleet        the loop: look, plan, do
reconciling  compares the records with the provider's own list
words        what operators ask
vacancy      whether anybody else leads, seen by one without a configuration
results      where results lie in the bucket, for who wants to fetch them
"""
