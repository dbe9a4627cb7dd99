"""A model in llama.cpp's own format: tensors, settings, vocabulary."""
