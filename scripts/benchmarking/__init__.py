"""The parts of scripts/benchmark.py; each file needs only those above it.

variants    what is compared: plain, default and best, as flags, models and commands
measure     how to measure: by alternating, by the clock, by a program's output, by memory
table       what is printed: the heading, and rows with medians and gains
rows        what is measured: one function per row
ways        single settings compared: precision, layout, compiling, joined inputs
"""
