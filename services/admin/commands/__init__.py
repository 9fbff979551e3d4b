"""What operators can ask for, and what comes of it: the one road of telnet, web and command line."""
