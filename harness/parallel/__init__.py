"""Several processes: workers of xdist, ranks of torchrun, and merging runs made separately."""
