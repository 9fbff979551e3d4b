"""What the admin service decides: which command a line is, how an answer looks. Pure; time is an argument.

No module here knows of sockets, HTTP or the bus. Tokens stop here: no rendering has a way to show one.
"""
