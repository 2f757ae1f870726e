"""What namespaces had counted and how they stood at a capture's ends, and what changed between."""
