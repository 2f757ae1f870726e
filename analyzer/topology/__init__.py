"""Discover who is connected to whom; choose vantages from it; watch it change."""
