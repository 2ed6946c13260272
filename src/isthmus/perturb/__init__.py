"""Perturbations of rows and of inputs: each takes what it changes, a level and a seed."""
