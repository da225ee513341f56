"""The wording of messages, and how a script without PyTorch ends."""

from __future__ import annotations

import pytest

from util.errors import UserError, exit_status, first_few


@pytest.mark.parametrize(
    "error, status, shown",
    [
        (UserError("--out x: no\nmore of it"), 2, "scripts/some.py: --out x: no\n"),
        (PermissionError(13, "Permission denied", "x"), 2, "[Errno 13] Permission denied: 'x'\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=["mistake", "disk", "Ctrl-C"],
)
def test_what_a_user_can_cause_ends_in_one_line(capsys, error, status, shown) -> None:
    def main() -> int:
        raise error

    assert exit_status("scripts/some.py", main) == status
    told = capsys.readouterr().err
    assert told.endswith(shown)
    assert told.count("\n") == (status == 2)


def test_other_errors_are_ours_and_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_status("scripts/some.py", lambda: 1 // 0)


@pytest.mark.parametrize("given, status", [(None, 0), (0, 0), (3, 3)])
def test_a_command_gives_its_status(given, status) -> None:
    assert exit_status("scripts/some.py", lambda: given) == status


def test_of_many_names_the_first_are_told() -> None:
    names = [str(number) for number in range(9)]
    assert first_few(names) == "0, 1, 2, 3, 4, 5, 6, 7, ..."
    assert first_few(names[:8]) == "0, 1, 2, 3, 4, 5, 6, 7"
    assert first_few(names, 2) == "0, 1, ..."
