"""Studies: each states its hypothesis, metric and threshold."""
