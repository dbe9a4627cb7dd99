"""What pages and commands show of data and runs, as plain data."""
