"""The spool: the files that this proxy has received, on its disk."""
