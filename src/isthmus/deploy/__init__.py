"""Out of here: exports, store coordinates, thresholds, and comparisons of versions."""
