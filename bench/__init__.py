"""Target-by-side speed and memory figures: ``python -m bench`` prints one JSON document."""
