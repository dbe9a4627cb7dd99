"""What a run leaves as: an adapter, merged weights, a repository on the Hub."""
