"""Text for people: numbers as they are read, and foreign text made harmless."""
