"""``isthmus demo``: the whole story offline, on real pictures and names. See ``story``."""
