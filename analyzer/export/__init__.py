"""Hand the capture on to other tools."""
