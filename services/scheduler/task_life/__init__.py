"""The life of a task: the table of its states, and the next value of a task for whatever happens to it. Pure."""
