"""`analyzer.native.words` for compiled loops."""

from __future__ import annotations

from analyzer.native.compiled import piece
from analyzer.native.words import padded

padded_in_loop = piece(padded)
"""``length`` bytes with their padding to whole words of 32 bits"""
