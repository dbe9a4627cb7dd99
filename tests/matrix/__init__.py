"""Small random models of many families, adapters of many kinds, and transformers and peft to hold them against."""
