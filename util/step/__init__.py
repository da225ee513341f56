"""From the gradients of a model to its weights: what surrounds its step and is in no paper."""

from util.step.steps import Steps

__all__ = ["Steps"]
