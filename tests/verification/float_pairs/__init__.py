"""Rewrites of small float models with the truth about each: correct ones, and wrong ones of small effect."""

from __future__ import annotations

from tests.verification.float_pairs.draft import Pair
from tests.verification.float_pairs.rights import CORRECT
from tests.verification.float_pairs.wrongs import WRONG

__all__ = ["CORRECT", "PAIRS", "WRONG", "Pair"]

PAIRS = (*CORRECT, *WRONG)
