"""What the pages have in common: a head, and style and script from the files beside this one."""

from pathlib import Path
from typing import Any

from dominate import document, tags
from dominate.util import raw

_HERE = Path(__file__).parent


def new_page(title: str, *styles: str, **attributes: Any) -> document:
    """A page without content, with these style sheets inside, for any screen and colour scheme."""
    page = document(title=title, lang="en", **attributes)
    page.head.add(
        tags.meta(charset="utf-8"),
        tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
        tags.meta(name="color-scheme", content="light dark"),
        tags.link(rel="icon", href="data:,"),
        *(tags.style(raw((_HERE / style).read_text(encoding="utf-8"))) for style in styles),
    )
    return page


def script_of(*names: str) -> str:
    """These files of page/, joined in this order."""
    return "".join((_HERE / "page" / f"{n}.js").read_text(encoding="utf-8") for n in names)
