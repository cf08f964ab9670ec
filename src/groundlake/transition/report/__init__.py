"""The report of a group: Markdown, a page of its own, and pictures; see `writing.write_report`."""

from __future__ import annotations

from groundlake.transition.report.writing import write_report

__all__ = ["write_report"]
