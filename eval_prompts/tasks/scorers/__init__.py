"""Scorers: small functions that say what one answer is worth, by name."""
