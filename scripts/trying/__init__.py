"""The server of scripts/try_it.py.

photographs   what was uploaded and what became of it; one thread applies the network
server        the page and its requests, which it answers for nobody else
"""
