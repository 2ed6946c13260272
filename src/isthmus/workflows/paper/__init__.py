"""The tables and figures of the base paper (arXiv 2603.29080) for a reader's model and data."""
