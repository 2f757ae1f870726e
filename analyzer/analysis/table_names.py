"""Names of all tables that a capture can be exported as; nothing heavy is imported for them."""

from analyzer.flows.registry import MODULES

OF_PACKETS = ("packets", "frames", "journeys")
CONVERSATIONS = "flows"
"""TCP and UDP in one table"""
TABLES = (*OF_PACKETS, "hops", CONVERSATIONS, *MODULES, "losses", "vantages")
