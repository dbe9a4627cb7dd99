"""Everything that makes the tuned model: base weights, data, chat encoding, the loop, runs."""

__version__ = "0.1.0"
"""The one place that says which version of LoRA Lens this is: the package, /status and --version read it here."""
