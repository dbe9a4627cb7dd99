"""Base weights: where they come from, how they are loaded, and on which device."""
