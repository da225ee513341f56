"""Command-line flags: shared, of train.py, of test.py; models and datasets add theirs."""
