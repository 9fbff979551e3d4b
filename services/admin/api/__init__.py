"""How operators call the admin service: telnet, web and command line. Decode, call one handler, render."""
