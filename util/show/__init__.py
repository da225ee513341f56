"""Everything that people look at: loggers, pages, results, metrics."""
