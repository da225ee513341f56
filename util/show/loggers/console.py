"""Loss lines on standard output, with progress bars below them if stderr is a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from util.metrics.scores import BEST, Scores
from util.run.clock import Clock
from util.show.bars import tqdm
from util.show.estimate import duration_text
from util.show.loggers.base import EpochEnd, Logger, Losses, Outcome, fitting, saved_line
from util.streams import BOLD, GREEN, paint, raise_if_switched_off
from util.util import listed

REFRESH_S = 0.25
COLUMNS = 100  # of a line, at most
TELL_S = 10.0  # after this time, the losses at the end of an epoch are shown unasked
QUIET_S = 600.0  # after this time, so are losses within an epoch
FULL_TEXT, SHORT_TEXT = 52, 40  # columns of the text after a bar, with and without the data wait
SHORTEST_BAR = 5
PACE_REFRESHES = 240  # the pace and data wait are means over these: a minute, or more if slow


class ConsoleLogger(Logger):
    """One bar for the epoch and one for the run, below the lines:

        epoch 3/200 |####### | 29/50, 00:12 left, 1.71 images/s, data wait 2%
        run         |        | 1.3%, 1:36:06 left, GPU 3.1/8.0 GiB
        losses G_GAN 1.21, G_L1 12.3, D_real 0.551, D_fake 0.602

    The losses are shown where they have no lines of their own within an epoch. A narrow terminal
    omits the data wait, and an even narrower one the bars themselves. If stderr is not a terminal,
    there are only the lines.

    Args:
        within_epochs: whether losses and saved checkpoints have lines of their own. Otherwise an
            epoch has one line, at its end, unless it takes longer than ten minutes.
    """

    name = "the console"

    def __init__(self, clock: Clock, *, within_epochs: bool):
        self.within_epochs = within_epochs
        self.hidden = not sys.stderr.isatty()
        self.epoch, self.run = (
            tqdm(
                total=total,
                position=position,
                bar_format="{bar}",
                dynamic_ncols=True,
                leave=False,
                disable=self.hidden,
            )
            for position, total in enumerate(
                [clock.images_per_epoch, clock.last_epoch * clock.images_per_epoch]
            )
        )
        self.below: tqdm | None = None  # the newest losses of an epoch without lines
        self.refreshed_s = 0.0
        self.told_s = time.monotonic()  # when a line was last printed
        self.ending = Ending()
        # (seconds, images of the run, seconds waited for data) at the last refreshes
        self.marks: deque[tuple[float, int, float]] = deque(maxlen=PACE_REFRESHES)

    def step(self, clock: Clock) -> None:
        """Move the bars to the position of the clock."""
        now_s = time.monotonic()
        if self.hidden or now_s < self.refreshed_s + REFRESH_S:
            return
        self.refreshed_s = now_s
        self.epoch.n = clock.epoch_images
        self.run.total = clock.last_epoch * clock.images_per_epoch  # a run may end sooner
        self.run.n = (clock.epoch - 1) * clock.images_per_epoch + clock.epoch_images
        self.marks.append((now_s, self.run.n, clock.waited_s))

        before_s, before, waited_s = self.marks[0]
        pace_s = (now_s - before_s) / max(1, self.run.n - before)  # per image; 0: not yet known
        title = f"epoch {clock.epoch:>{len(str(clock.last_epoch))}}/{clock.last_epoch}"
        columns = terminal_columns()
        room = columns - len(title) - len(" || ") - SHORTEST_BAR
        epoch = f"{self.epoch.n}/{self.epoch.total}{time_left(self.epoch, pace_s)}"
        if pace_s:
            epoch += f", {1 / pace_s:.{2 if pace_s > 0.1 else 0}f} images/s"
        if pace_s and room >= FULL_TEXT:
            epoch += f", data wait {(clock.waited_s - waited_s) / (now_s - before_s):.0%}"
        run = f"{self.run.n / self.run.total:.1%}{time_left(self.run, pace_s)}{gpu_memory()}"
        for bar, name, text in (self.epoch, title, epoch), (self.run, "run", run):
            if room >= SHORT_TEXT:  # padding makes both bars equally long
                width = FULL_TEXT if room >= FULL_TEXT else SHORT_TEXT
                bar.bar_format = f"{name:<{len(title)}} |{{bar}}| {text:<{width}}"
            else:
                line = f"{name:<{len(title)}} {text}"
                bar.bar_format = line[: columns - 1]  # Windows wraps at the last column
        self.epoch.refresh()
        self.run.refresh()

    def losses(self, losses: Losses) -> None:
        if not losses.ends_epoch and self._is_time_within():
            self._tell(losses.line(COLUMNS))
            return
        if losses.ends_epoch:
            self.ending.losses = losses
        else:
            self._show_below_bars(losses)
        self.ending.is_asked_for |= losses.is_asked_for

    def _show_below_bars(self, losses: Losses) -> None:
        if self.below is None:
            self.below = tqdm(total=1, position=2, leave=False, disable=self.hidden)
        text = fitting("losses ", parts_of(losses), terminal_columns() - 1)
        self.below.bar_format = text.replace("{", "{{").replace("}", "}}")
        self.below.refresh()

    def validation(self, scores: Scores) -> None:
        self.ending.scores = scores

    def saved(self, labels: Sequence[str], total_images: int) -> None:
        within = self.ending.losses is None and self.ending.scores is None
        if within and self._is_time_within():
            self._tell(saved_line(labels, total_images))
        else:
            self.ending.labels = list(dict.fromkeys([*self.ending.labels, *labels]))
            self.ending.total_images = total_images

    def epoch_end(self, end: EpochEnd) -> None:
        """Print at most one line for the end of an epoch, if there is something to tell."""
        ending, self.ending = self.ending, Ending()
        has_news = ending.scores is not None or bool(ending.labels)
        if ending.is_asked_for or has_news or self._has_been_quiet(TELL_S):
            best = BEST if ending.scores and ending.scores.is_best else ""
            self._tell(ending.line(end).replace(best, paint(best, GREEN, sys.stdout), 1))

    def _is_time_within(self) -> bool:
        return self.within_epochs or self._has_been_quiet(QUIET_S)

    def _has_been_quiet(self, seconds: float) -> bool:
        return time.monotonic() >= self.told_s + seconds

    def _tell(self, line: str) -> None:
        self.told_s = time.monotonic()
        self.say(line)

    def say(self, line: str) -> None:
        """Print a line above the bars. Raises OSError if standard output no longer works."""
        tqdm.write(line)
        sys.stdout.flush()
        raise_if_switched_off()

    def close(self, outcome: Outcome) -> None:
        for bar in filter(None, (self.below, self.run, self.epoch)):
            bar.close()
        if self.ending.labels:  # of an epoch whose end was not reached
            self.say(saved_line(self.ending.labels, self.ending.total_images))
        self.say(paint(outcome.line, BOLD, sys.stdout))
        for line in outcome.more:
            self.say(line)


@dataclass
class Ending:
    """What there is to tell of an epoch that ends, until it is told in one line."""

    losses: Losses | None = None
    scores: Scores | None = None
    labels: list[str] = field(default_factory=list)
    total_images: int = 0  # at the newest of these checkpoints
    is_asked_for: bool = False  # --print_freq was crossed since the last line

    def line(self, end: EpochEnd) -> str:
        """End of epoch 12 / 400 (31 s): SSIM 0.931 (+0.009), the best; saved best; G_L1 3.12, ...

        `lr` is the learning rate of the next epoch, where it changes.

        At most COLUMNS wide: losses that do not fit are left out.
        """
        line = f"End of epoch {end.epoch} / {end.last_epoch}"
        line += f" ({duration_text(end.time_s)})" if end.time_s >= 1 else ""
        parts = [self.scores.short() if self.scores else ""]
        parts.append(f"saved {listed(self.labels)}" if self.labels else "")
        old, new = end.learning_rates
        parts.append(f"lr {new:.3g}" if new != old else "")
        line += ": " + "; ".join(filter(None, parts)) if any(parts) else ""
        told = parts_of(self.losses) if self.losses else []
        return fitting(f"{line}{'; ' if any(parts) else ': '}", told, COLUMNS)


def parts_of(losses: Losses) -> list[str]:
    return [f"{name} {value:.4g}" for name, value in losses.values.items()]


def terminal_columns() -> int:
    """The width of stderr's terminal; 80 if it is unknown."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


def time_left(bar: tqdm, pace_s: float) -> str:
    """', 1:36:06 left' at this many seconds per image, or '' while the pace is unknown."""
    return f", {tqdm.format_interval((bar.total - bar.n) * pace_s)} left" if pace_s else ""


def gpu_memory() -> str:
    """', GPU 3.1/8.0 GiB': the memory that this process holds on its GPU, or '' without a GPU."""
    held, total = 0, 0
    if torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            if reserved := torch.cuda.memory_reserved(device):
                held += reserved
                total += torch.cuda.get_device_properties(device).total_memory
    elif torch.backends.mps.is_available():
        held, total = torch.mps.driver_allocated_memory(), torch.mps.recommended_max_memory()
    return f", GPU {held / 2**30:.1f}/{total / 2**30:.1f} GiB" if held else ""
