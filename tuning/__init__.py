"""Everything that makes the tuned model: base weights, data, chat encoding, the loop, runs."""
