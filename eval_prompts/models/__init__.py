"""The model pair: base and tuned model in memory together, sharing what is equal."""
