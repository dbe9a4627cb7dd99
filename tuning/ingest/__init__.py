"""From any data source into a DuckDB file or a MotherDuck database, and from there into training.

Its packages are an extra (``tuning/ingest/requirements.txt``): nothing outside imports them, and what needs them says
so.
"""
