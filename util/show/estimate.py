"""What a run will take, said after its first steps: time, memory and disk."""

from __future__ import annotations

import datetime
import statistics
import time

import torch

from util.run.clock import Clock
from util.run.disk import Room, size_text
from util.run.memory import process_peak

MOST_STEPS, MOST_S = 10, 20.0  # after either, a run says its estimate
SLOW_STEPS = 2  # first ones that allocate, compile and choose algorithms
ENDLESS_S = 30 * 365 * 24 * 3600


class Estimate:
    """Times the first steps of a run and says, once, what the whole run will take.

    Waits for the device after each of these steps, and changes nothing else.

    Args:
        clock: the position of the run, which `lines` reads.
        images_per_step: of all processes.
        room: what the checkpoints need.
        num_steps: how many steps to time; by default 10, or fewer if they take 20 s.
    """

    def __init__(
        self,
        clock: Clock,
        device: torch.device,
        images_per_step: int,
        room: Room,
        num_steps: int | None = None,
    ):
        self.clock, self.device, self.room = clock, device, room
        self.images_per_step = images_per_step
        self.num_steps, self.most_s = num_steps or MOST_STEPS, MOST_S if num_steps is None else None
        self.times = [time.perf_counter()]  # of the start and the end of each step
        self.is_done = False

    def step(self) -> bool:
        """Time a step that has ended; whether it is the moment to say `lines`."""
        if self.is_done:
            return False
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        self.times.append(time.perf_counter())
        taken = len(self.times) - 1
        late = self.most_s is not None and self.times[-1] - self.times[0] >= self.most_s
        self.is_done = taken >= self.num_steps or (late and taken > SLOW_STEPS)
        return self.is_done

    def step_s(self) -> float:
        """Seconds a step: the median without the first ones, or the last if there are no others."""
        steps = [end - start for start, end in zip(self.times, self.times[1:], strict=False)]
        return statistics.median(steps[SLOW_STEPS:] or steps[-1:])

    def lines(self) -> list[str]:
        """Two lines, of at most 100 columns: when the run ends; what memory and disk it takes."""
        steps = self.clock.steps_left(self.images_per_step)
        step_s = self.step_s()
        device = device_memory(self.device)
        process = process_peak()
        memory = [device] if device else []
        memory += [f"process {process / 2**30:.1f} GiB"] if process else []
        return [
            f"{step_s:.3g} s a step, {steps} to go: {end_text(steps * step_s)} (steps alone)",
            f"peak memory: {', '.join(memory) or 'unknown'}; disk: "
            f"{size_text(self.room.needed())} needed, {size_text(self.room.free())} free",
        ]


def end_text(left_s: float) -> str:
    """'the run ends about 18:40, in 2 h 5 min', with the date if that is not today."""
    if left_s > ENDLESS_S:
        return "the run takes more than 30 years"
    now = datetime.datetime.now()
    end = now + datetime.timedelta(seconds=left_s)
    when = f"{end:%H:%M}" if end.date() == now.date() else f"{end:%H:%M on %Y-%m-%d}"
    return f"the run ends about {when}, in {duration_text(left_s)}"


def duration_text(seconds: float) -> str:
    """'40 s', '12 min', '2 h 5 min'."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def device_memory(device: torch.device) -> str:
    """'GPU 6.2/79.2 GiB': the most that PyTorch has held of a GPU, and all; '' for the CPU."""
    if device.type == "cuda":
        held = torch.cuda.max_memory_reserved(device)
        total = torch.cuda.get_device_properties(device).total_memory
    elif device.type == "mps":
        held, total = torch.mps.driver_allocated_memory(), torch.mps.recommended_max_memory()
    else:
        return ""
    return f"GPU {held / 2**30:.1f}/{total / 2**30:.1f} GiB"
