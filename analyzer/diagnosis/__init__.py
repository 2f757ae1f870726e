"""Losses: settings, rules and kernel reasons → place, reason, advice. Pure."""
