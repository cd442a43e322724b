"""Side-by-side figures, printed as ratios from one run: `make bench`."""
