"""What an adapter changed: token by token in what the models say, and layer by layer in their weights."""
