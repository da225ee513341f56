"""The flags of train.py and test.py, and how they become options."""
