"""Data only: what the stages hand to each other. Nothing here touches a socket, file or clock."""
