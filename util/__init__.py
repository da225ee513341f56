"""What every part of the program may lean on; imports nothing else of ours."""

__version__ = "0.2.0"  # of the program; pyproject.toml and --version take it from here
