"""Pages that show a run in the browser: pictures, curves, options; no server and no network."""

from util.show.html.pages import ResultsPage, TrainingPage

__all__ = ["ResultsPage", "TrainingPage"]
