"""Adapters: which layers get one, how its factors begin, and how it is written for peft and for people."""
