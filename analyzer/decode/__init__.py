"""Frames into columns: addresses, ports, flags and identity keys, in one pass over the bytes."""
