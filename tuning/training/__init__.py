"""The training loop and its parts: one step, the optimizer, adapters, checkpoints, several devices."""
