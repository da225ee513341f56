"""The options of a run, by name."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, NoReturn

from options.flags import program_of
from util.errors import MissingOption


class Options(argparse.Namespace):
    """Options by name.

    Reading one that no flag sets raises MissingOption, an AttributeError. It says how to add the
    flag, because model files from other repositories read flags of their own.

    Attributes:
        resume_at: the epoch at whose beginning a run resumes; 0: where its checkpoint was saved. It
            is not an option, so it is neither printed nor saved.
    """

    __slots__ = ("resume_at",)

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.resume_at = 0

    def __getattr__(self, name: str) -> NoReturn:  # called for missing attributes only
        file = sys._getframe(1).f_code.co_filename
        line = f"{file} reads opt.{name}, which is not a flag of {os.path.basename(sys.argv[0])}"
        if program_of(f"--{name}") == "train.py":
            raise MissingOption(f"{line} but of train.py; read it only where opt.isTrain is true")
        raise MissingOption(
            f"{line} but of the program that the file was written for; in the file of the --model "
            "or --dataset_mode, add to modify_commandline_options: "
            f"parser.add_argument('--{name}', ...)"
        )
