"""Attacks on the command line: kills, two runs at once, a full disk, hostile words, the network.

``make reliability`` runs them and writes their counts into ``docs/reliability.md``. A short, fixed
part of each runs in ``tests/test_campaigns.py``.
"""
