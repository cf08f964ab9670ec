"""The settings of an evaluation: reading, merging, checking and hashing them."""
