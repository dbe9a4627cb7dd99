"""Other models and adapters for an app that runs: what is wished, what it needs, and the opening."""
