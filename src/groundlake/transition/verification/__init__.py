"""Whether an evaluation is done as defined, and what its answers look like."""
