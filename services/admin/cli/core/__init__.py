"""What the command line decides: its words, their help and completion, what arguments mean, how a table fits. Pure."""
