"""The names of what --augment can change, which `options` checks and `data` applies."""

GEOMETRY = ("scale", "rotation", "shift")
TONES = ("exposure", "white_balance", "gamma")
FLAWS = ("noise", "blur", "jpeg")  # of the input alone
KINDS = (*GEOMETRY, *TONES, *FLAWS)
