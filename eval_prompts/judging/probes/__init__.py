"""What a right answer to each of the five Python probes does."""
