"""The parts of scripts/check_pairs.py; each file needs only those above it.

alignment   how far A and B are off each other
pairs       what there is to know of a pair, once it is read
findings    which pairs are worth a look, and why
"""
