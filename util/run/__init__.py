"""What a run is on disk and in time: checkpoints, clock, lock, signals, how to resume it."""
