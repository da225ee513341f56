"""What a model counts in its attributes, such as epochs or a rate of its own."""

from __future__ import annotations

from models.base_model import BaseModel


class Counts:
    """The numbers among a model's attributes that have changed since, as a part of a checkpoint.

    Those that have not are settings, which the options of a resumed run may change.
    """

    def __init__(self, model: BaseModel):
        self.model, self.begun = model, numbers_of(model)

    def state_dict(self) -> dict[str, float]:
        return {n: x for n, x in numbers_of(self.model).items() if self.begun.get(n) != x}

    def load_state_dict(self, state: dict[str, float]) -> None:
        vars(self.model).update(state)


def numbers_of(model: BaseModel) -> dict[str, float]:
    """The numbers by attribute, those of NumPy as Python's, which a checkpoint may hold."""
    return {
        name: float(value) if isinstance(value, float) else value
        for name, value in vars(model).items()
        if isinstance(value, int | float)
    }
