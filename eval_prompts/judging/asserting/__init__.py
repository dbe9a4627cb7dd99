"""Tests that come with a question, run so that the tested code has no say in the result."""
