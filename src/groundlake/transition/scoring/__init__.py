"""Scoring: tasks with their metrics, failures by name, and the scores of a group."""
