"""A gate that runs every night: its accuracy against a pinned run, its speed against the series of all nights."""
