"""Run folders, checkpoints, processes, and how a command begins and ends."""
