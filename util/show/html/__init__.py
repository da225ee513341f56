"""Pages that show a run in the browser: pictures, curves and options. No server, no network."""

from util.show.html.pages import ResultsPage, TrainingPage, listed_pictures

__all__ = ["ResultsPage", "TrainingPage", "listed_pictures"]
