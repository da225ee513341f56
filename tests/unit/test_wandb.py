"""When the program asks Weights & Biases for the user's identity."""

from __future__ import annotations

import pytest
import wandb

from util.show.loggers import wandb as wandb_logger


@pytest.mark.parametrize("mode, asked", [("offline", 0), ("disabled", 0), ("online", 1), (None, 1)])
def test_a_key_is_asked_for_only_where_it_is_needed(mode, asked, monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    calls: list[None] = []
    monkeypatch.setattr(wandb, "login", lambda: calls.append(None))
    monkeypatch.setattr(wandb_logger, "why_silent", lambda server: "")
    monkeypatch.setattr(wandb_logger, "leave_in_time", lambda server: None)
    try:
        assert wandb_logger.log_in(tmp_path) is None
    finally:
        wandb.teardown()  # or programs of other tests would use the service of this process
    assert len(calls) == asked
