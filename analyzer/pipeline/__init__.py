"""Where the stages meet: each command is one call into this package."""
