"""Capture files: pcapng and pcap, read and written in columns."""
