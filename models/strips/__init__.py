"""A generator on a picture of any size in bounded memory, with the result of the whole picture.

Each layer runs over strips of rows, with as many rows around them as it looks at. What it gives is
parked in host memory, or in a temporary file; a norm that needs the mean and variance of a whole
map takes them from all strips, and is applied, like an activation, when the next layer reads. Maps
of the picture's own height are computed twice instead of parked.

maps        feature maps that are read in rows: parked ones, and what layers make of others
walk        from a network to the map that it gives
run         the strips' height, memory and time, and the picture that comes out
"""
