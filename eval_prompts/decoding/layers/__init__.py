"""What the common-step decoder computes a layer with, for the rows of both sides at once."""
