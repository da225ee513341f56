"""What the pages have in common: a head, and style and script from the files beside this one."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dominate import document, tags
from dominate.util import raw

_HERE = Path(__file__).parent


def page_text(
    title: str,
    *,
    styles: Sequence[str],
    scripts: Sequence[str],
    without_script: Sequence[Any],
    sections: Sequence[tags.html_tag],
    head: Sequence[tags.html_tag] = (),
    settings: Mapping[str, Any] | None = None,
    is_served: bool = False,
    **attributes: Any,
) -> str:
    """A page, for any screen and colour scheme, with all that it needs inside.

    Args:
        styles: names of style sheets.
        scripts: names of the files of page/ that make up its script, in this order.
        without_script: what is shown where there is no JavaScript.
        head: what stands below the title and the status.
        settings: what the script finds in the element `settings`.
        is_served: a server has the style sheets under their names, and the script, `script_text`,
            as script.js, so that its Content-Security-Policy can forbid all code inside pages.
    """
    page = document(title=title, lang="en", **attributes)
    page.head.add(
        tags.meta(charset="utf-8"),
        tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
        tags.meta(name="color-scheme", content="light dark"),
        tags.link(rel="icon", href="data:,"),
        *(
            tags.link(rel="stylesheet", href=style) if is_served else tags.style(raw(text(style)))
            for style in styles
        ),
    )
    page.add(
        tags.header(tags.h1(title), tags.p(id="status"), *head),
        tags.main(tags.noscript(tags.p(*without_script)), *sections),
    )
    if settings is not None:
        state = json.dumps(settings).replace("<", "\\u003c")  # so no text can end the element
        page.add(tags.script(raw(state), id="settings", type="application/json"))
    # A module has its own scope, so the data files can only call what it puts into `window`.
    if is_served:
        page.add(tags.script(src="script.js", type="module"))
    else:
        page.add(tags.script(raw(script_text(scripts)), type="module"))
    return page.render(pretty=False)


def script_text(names: Sequence[str]) -> str:
    """The script that these files of page/ make up."""
    return "".join(text(f"page/{name}.js") for name in names)


def text(file: str) -> str:
    """Of a file beside this one."""
    return (_HERE / file).read_text(encoding="utf-8")
