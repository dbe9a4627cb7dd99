"""What is asked and what a good answer is."""
