"""What visitors see of answers, blind or open, as plain data."""
