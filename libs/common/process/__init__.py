"""The life of a process: signals, loops, memory, files of its own, signs of life."""
