"""What a telnet session decides: where a line ends, which command it is, who may stay. Pure."""
