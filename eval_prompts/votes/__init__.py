"""People's votes: kept, counted, exported."""
