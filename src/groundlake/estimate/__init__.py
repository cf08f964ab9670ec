"""Estimators: predictions brought in from files, built-in ones computed in SQL, and how wrong they are."""

from __future__ import annotations

from groundlake.estimate.builtin import ESTIMATORS, Fitted, fit
from groundlake.estimate.files import read_estimates

__all__ = ["ESTIMATORS", "Fitted", "fit", "read_estimates"]
