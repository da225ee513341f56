"""How a picture file is read; each file needs only those above it.

quiet       keeps libraries from printing
notes       what is noticed on the way, to be told in one line
profiles    colour profiles: from a picture's colours to sRGB
arrays      files with more than 8 bits or other numbers of channels, as arrays
picture     a decoded picture of either kind, and how it becomes the channels of a network
"""

VERSION = 2  # raised whenever the same file is read differently, since caches outlive a program
