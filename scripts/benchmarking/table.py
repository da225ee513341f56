"""What is printed: a description of the machine, and the table."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass

import torch

from scripts.benchmarking.measure import Samples
from scripts.benchmarking.variants import VARIANTS, Setting
from util.speed import performance
from util.util import counted


@dataclass(frozen=True)
class Row:
    """One line of the table; `rises` means that more is better."""

    title: str
    unit: str
    samples: Samples
    rises: bool = False

    def gain(self, variant: str) -> float:
        """How many times better than plain."""
        plain, value = (statistics.median(self.samples[v]) for v in ("plain", variant))
        return value / plain if self.rises else plain / value


def table(rows: list[Row]) -> str:
    """The table in Markdown, with columns aligned as plain text too."""
    lines = [["", "unit", *VARIANTS, *(f"{variant} gain" for variant in VARIANTS[1:])]]
    for row in rows:
        gains = [f"{row.gain(variant):.2f}" for variant in VARIANTS[1:]]
        lines.append([row.title, row.unit, *(cell(row.samples[v]) for v in VARIANTS), *gains])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    cells = ((text.ljust(w) for text, w in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def cell(values: list[float]) -> str:
    """The median and, for several values, the range: median (least..greatest)."""
    spread = f" ({number(min(values))}..{number(max(values))})" if len(values) > 1 else ""
    return number(statistics.median(values)) + spread


def number(value: float) -> str:
    """Three significant digits, without an exponent for large numbers."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def heading(setting: Setting) -> str:
    """Describe the machine and what is measured."""
    processor = platform.processor() or platform.machine()
    if hasattr(torch.cpu, "get_capabilities"):
        processor = torch.cpu.get_capabilities().get("cpu_name") or processor
    cores = counted(os.cpu_count() or 1, "logical core")
    cores += f", {counted(torch.get_num_threads(), 'thread')}"
    bf16 = "with" if performance.cpu_has("avx512_bf16", "amx_bf16") else "without"
    gpu = "no GPU"
    if setting.device.type == "cuda":
        gpu = torch.cuda.get_device_name(setting.device)
    precision = name_of(performance.resolve_precision("auto", setting.device))
    compiled = "compiled" if setting.compiles else "not compiled"
    return (
        f"{processor} ({cores}, {bf16} bf16 arithmetic), {gpu}, PyTorch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.system()}. {setting.size_px} px, "
        f"batch size 1{', tiny networks' if setting.tiny else ''}; best is {precision}, {compiled}."
    )


def name_of(dtype: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]
