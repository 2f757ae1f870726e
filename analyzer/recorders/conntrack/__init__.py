"""The kernel's connection tracking, listened to while a capture runs: who is translated to what."""
