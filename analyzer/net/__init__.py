"""Facts of the wire and of Linux, stated once; netlink, namespaces, capabilities."""
