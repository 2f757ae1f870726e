"""A topology as text, DOT or SVG."""
