"""What must happen: flip probabilities, certified radii, consistency at every level of noise."""
