"""Statistics of measurements: numpy throughout, scipy loaded only where a distribution is needed."""
