"""Recognise the same packet at every vantage and put its frames in order of the topology."""
