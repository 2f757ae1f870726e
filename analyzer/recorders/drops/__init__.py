"""Why the kernel dropped a packet: its tracepoints while capturing, and what they mean after."""
