"""Looking after a lake: merging its files, removing what nobody reads any more, and finding what is damaged."""
