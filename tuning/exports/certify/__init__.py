"""Whether an exported model is the one that was tuned: read back by the engine that will run it, and compared."""
