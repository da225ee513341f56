"""A photograph to be changed: what a network sees of it, and the changed file with all of the rest.

metadata    EXIF, XMP, IPTC, colour profile and dpi, as far as they outlive a change
files       writing pictures of 8 or more bits with their metadata
photo       a photograph's own values, and how a network's result gets into them
translate   a photograph through a generator, at its own size or at the size of the training
"""
