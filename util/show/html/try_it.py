"""The page of scripts/try_it.py, for its server."""

from __future__ import annotations

from collections.abc import Sequence

from dominate import tags

from util.show.html.layout import page_text, script_text, text

_STYLES = ("page.css", "try_it.css")
_SCRIPT = ("base", "try_it", "compare", "strip", "zoom", "viewer")


def try_it_page(
    name: str, *, ways: Sequence[str], full_size: str, epoch: str, max_bytes: int
) -> dict[str, tuple[str, str]]:
    """The type and the text of what lies at each address, such as / and /script.js.

    Args:
        name: of the run.
        ways: the choices of full_size.
        full_size, epoch: those for new photographs.
        max_bytes: of an upload.
    """
    choose = tags.label(
        "Choose photographs",
        # On a phone, pictures alone let people choose the camera too.
        tags.input_(id="files", type="file", multiple=True, accept="image/*"),
        cls="button",
    )
    hint = f"At most {max_bytes / 1e6:g} MB each. Nothing is kept after the program ends."
    page = page_text(
        f"Try {name}",
        styles=_STYLES,
        scripts=_SCRIPT,
        is_served=True,
        without_script=["This page needs JavaScript."],
        head=[tags.progress(id="progress", aria_label="Progress", hidden=True)],
        sections=[
            tags.section(
                choose,
                tags.p(tags.span("Or drop them anywhere. "), hint, cls="detail"),
                id="drop",
            ),
            tags.section(id="rows"),
        ],
        settings={
            "ways": ways,
            "fullSize": full_size,
            "epoch": epoch,
            "maxBytes": max_bytes,
            "thing": "photograph",
        },
    )
    return {
        "/": ("text/html", page),
        "/script.js": ("text/javascript", script_text(_SCRIPT)),
        **{f"/{style}": ("text/css", text(style)) for style in _STYLES},
    }
