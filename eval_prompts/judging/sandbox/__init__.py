"""Where untrusted code runs: an interpreter without a world, and an opt-in jail."""
