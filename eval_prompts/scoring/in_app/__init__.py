"""Scorings of an app: begun, watched and compared from the page."""
