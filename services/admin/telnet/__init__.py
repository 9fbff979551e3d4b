"""The telnet command line: sessions, the lines of a connection, and which command a line is."""
