"""Several processes: workers of xdist, ranks of torchrun, and merging runs that were made apart."""
