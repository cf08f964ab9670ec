"""Regression between runs: which configurations became slower, by how much, and whether noise explains it."""

from __future__ import annotations

from groundlake.compare.comparison import Comparison, compare, compare_selections, summary

__all__ = ["Comparison", "compare", "compare_selections", "summary"]
