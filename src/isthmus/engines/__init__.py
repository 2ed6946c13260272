"""Engines map a function over partitions of rows. The protocol is one method; see ``local``."""
