"""Forwarding: a committed task's files go to the node that it is placed on, some of them before the commit."""
