"""The fast parts of a training pass, each exact: packing, attention, products, dropout, loss, CUDA graphs."""
