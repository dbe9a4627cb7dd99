"""Scoring both sides on whole tasks: a run of its own, paired statistics, one verdict, and a gate."""
