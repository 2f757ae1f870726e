"""What is recorded live beside frames: kernel drops, connection tracking, settings and counters."""
