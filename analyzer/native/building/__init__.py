"""Builds the shared library of the loops with numba, which nothing else needs."""
