"""The web server around the page: its guard, roles, limits, logs, and its end."""
