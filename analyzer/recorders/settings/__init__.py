"""What interfaces, namespaces and packet filters were set to and had counted."""
