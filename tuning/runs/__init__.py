"""Runs as folders with a worker process and an event stream."""
