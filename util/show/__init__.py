"""All that people look at: loggers, pages, results, metrics."""
