"""Scores, exact search, and what a right answer is."""
