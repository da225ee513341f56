"""What is printed: a description of the machine, and the table."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass
from typing import Any

import torch

from scripts.benchmarking.measure import GIB, Samples
from scripts.benchmarking.variants import VARIANTS, Setting
from util.nvidia import cards
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
    return markdown(lines)


def markdown(lines: list[list[str]]) -> str:
    """A table in Markdown from its lines, the first one of which is the heading."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines = [lines[0], ["-" * width for width in widths], *lines[1:]]
    cells = ((text.ljust(w) for text, w in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def cell(values: list[float]) -> str:
    """The median and, for several values, the range: median (least..greatest)."""
    spread = f" ({number(min(values))}..{number(max(values))})" if len(values) > 1 else ""
    return number(statistics.median(values)) + spread


def number(value: float) -> str:
    """Three significant digits, without an exponent for large numbers."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine(setting: Setting) -> dict[str, Any]:
    """What the numbers hold for: processor, card, versions."""
    processor = platform.processor() or platform.machine()
    if hasattr(torch.cpu, "get_capabilities"):
        processor = torch.cpu.get_capabilities().get("cpu_name") or processor
    found = {
        "processor": processor,
        "logical_cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "bf16": performance.cpu_has("avx512_bf16", "amx_bf16"),
        "PyTorch": torch.__version__,
        "Python": platform.python_version(),
        "system": platform.system(),
    }
    if setting.device.type == "cuda":
        drivers = {card.driver for card in cards()}
        found |= {
            "GPU": torch.cuda.get_device_name(setting.device),
            "GPU_GiB": torch.cuda.get_device_properties(setting.device).total_memory / GIB,
            "driver": ", ".join(drivers),
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
        }
    return found


def heading(setting: Setting) -> str:
    """Describe the machine and what is measured."""
    its = machine(setting)
    cores = counted(its["logical_cores"], "logical core")
    cores += f", {counted(its['threads'], 'thread')}"
    bf16 = "with" if its["bf16"] else "without"
    gpu = "no GPU"
    if "GPU" in its:
        gpu = f"{its['GPU']} (driver {its['driver']}, CUDA {its['CUDA']})"
    precision = name_of(performance.resolve_precision("auto", setting.device))
    compiled = "compiled" if setting.compiles else "not compiled"
    return (
        f"{its['processor']} ({cores}, {bf16} bf16 arithmetic), {gpu}, PyTorch {its['PyTorch']}, "
        f"Python {its['Python']}, {its['system']}. {setting.size_px} px, "
        f"batch size 1{', tiny networks' if setting.tiny else ''}; best is {precision}, {compiled}."
    )


def name_of(dtype: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]
