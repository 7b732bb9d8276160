"""The machine that a run is on: memory, threads, workers."""
