"""What every part of the program may lean on; imports nothing else of ours."""
