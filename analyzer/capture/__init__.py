"""Capturing: one AF_PACKET ring per network namespace, written as one pcapng."""
