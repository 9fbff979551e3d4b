"""How the command line is called: `program` reads the words and writes help, `session` carries a command out."""
