"""From questions to tokens: one engine computes all live answers in common steps."""
