"""What scripts/benchmark.py is made of; each file needs only those above it.

variants    what is compared: plain, default and best, as flags, models and commands
measure     how: in turns, by the clock, by a program's output, by memory
table       what is printed: the heading, and rows of medians and gains
rows        what is measured: a function for each row
"""
