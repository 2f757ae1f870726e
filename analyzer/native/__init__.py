"""The machinery of the compiled loops: built ahead by numba into one library, called without it."""
