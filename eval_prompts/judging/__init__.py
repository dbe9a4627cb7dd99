"""From an answer to a verdict: extraction, names, execution, tests."""
