"""From capture files to tables: reading, the streaming engine, windows, selection."""
