"""The state of a run: its checkpoints, clock, lock and signals, and the command to resume it."""
