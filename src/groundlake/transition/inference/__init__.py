"""Asking: what is planned and not answered, one budget after the other, resumable."""
