"""A judge model that compares the answers of a scoring: its words, its worth, the command, and the page."""
