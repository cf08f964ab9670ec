"""Preparing a data set: reading, counting, binning, choosing, and writing it to the lake."""
