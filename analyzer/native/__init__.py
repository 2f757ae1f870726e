"""The machinery of the compiled loops: made by numba, kept on the disk, called without numba."""
