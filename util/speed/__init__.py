"""Speed and memory optimisations that keep the results, applied to networks from outside."""
