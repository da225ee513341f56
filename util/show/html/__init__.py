"""Pages that show a run in the browser: pictures, curves and options. No network, and no server but
for the one of scripts/try_it.py."""

from util.show.html.pages import ResultsPage, TrainingPage, listed_pictures
from util.show.html.try_it import try_it_page

__all__ = ["ResultsPage", "TrainingPage", "listed_pictures", "try_it_page"]
