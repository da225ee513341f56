"""How good results are, as numbers: for pairs of pictures, and for sets of pictures."""
