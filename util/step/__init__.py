"""Everything around a model's training step that is in no paper, from gradients to weights."""

from util.step.steps import Steps

__all__ = ["Steps"]
