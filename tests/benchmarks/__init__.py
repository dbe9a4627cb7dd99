"""Measured comparisons with what people use instead. Run by hand; never part of the tests."""
