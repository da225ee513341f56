"""A video whose frames go through a function, with the same sound; by PyAV, where installed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data.photo.files import ENDINGS
from util.errors import UserError, first_line
from util.files import writing
from util.packages import needed

READ = (*ENDINGS["video"], ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".3gp")
H264 = "libx264", {"crf": "16"}  # nearly without visible loss
ENCODERS = {".webm": ("libvpx-vp9", {"crf": "20", "b:v": "0"})}  # others are written as H264
FORMATS = {".mkv": "matroska", ".m4v": "mp4"}  # where it is not the ending
# Of FFmpeg's enumerations: how colours become YUV, and how brightness is encoded.
BT709, UNKNOWN, BT601 = 1, 2, 5
MATRICES = {BT709: BT709, 5: BT601, 6: BT601}
HDR = {16: "PQ", 18: "HLG"}
RGB = "gbrp16le"  # FFmpeg's conversion to RGB of 8 bits and back would darken a video by a level
HD_ROWS = 720  # from which players take BT.709 where a file does not say it
Change = Callable[[np.ndarray], np.ndarray]


def translate_video(
    source: Path,
    target: Path,
    change: Change,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[str]:
    """Write a video with changed frames, each at its time, upright; its sound is copied.

    Args:
        target: with an ending of files.ENDINGS; is written completely or not at all.
        change: from a frame (H, W, 3) uint16, in the video's colours as RGB, to the same.
        progress: called with the number of frames that are done, and that of all, or 0 if the
            file does not tell.

    Returns what people should know of it. Raises UserError for what is no video, cannot be decoded,
    or is of high dynamic range, and if PyAV is missing.
    """
    av = needed("av", "--video")
    part = target.with_name(f"{target.name}.tmp")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with av.open(str(source)) as given:
            if not given.streams.video:
                raise UserError(f"{source} has no pictures")
            ending = target.suffix.lower()
            with av.open(str(part), "w", format=FORMATS.get(ending, ending[1:])) as made:
                notes = Copy(source, given, made, ending).run(change, progress)
        with writing(target):
            part.replace(target)
    except av.FFmpegError as error:
        reason = error.strerror or first_line(error)
        raise UserError(f"{source} is no whole video that can be read ({reason})") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return notes


class Copy:
    """One video on its way from a container of PyAV into another.

    Args:
        ending: of the new file.
    """

    def __init__(self, source: Path, given: Any, made: Any, ending: str):
        self.source, self.given, self.made = source, given, made
        self.pictures = given.streams.video[0]
        self.pictures.thread_type = "AUTO"
        self.encoder, self.options = ENCODERS.get(ending, H264)
        self.notes: list[str] = []
        self.out: Any = None
        made.metadata.update(given.metadata)
        self.copied = {}
        for stream in given.streams.audio:
            try:
                self.copied[stream.index] = made.add_stream_from_template(stream)
            except ValueError as error:
                name = stream.codec_context.name
                raise UserError(
                    f"{source}: a {ending} file cannot hold its sound ({name}); convert it to .mkv"
                ) from error
        left_out = len(given.streams) - 1 - len(self.copied)
        if left_out:
            self.notes.append(f"without {left_out} other streams, such as subtitles")

    def run(self, change: Change, progress: Callable[[int, int], object]) -> list[str]:
        total, done = self.pictures.frames, 0
        wanted = [s for s in self.given.streams if s is self.pictures or s.index in self.copied]
        # The header is written with the first packet, so that the first frame comes before sound.
        waiting: list[Any] = []
        for packet in self.given.demux(wanted):
            if packet.stream is not self.pictures:
                if packet.dts is not None:
                    waiting.append(packet)
            else:
                for frame in packet.decode():
                    self._frame(frame, change)
                    done += 1
                    progress(done, total)
            if self.out is not None:
                for sound in waiting:
                    sound.stream = self.copied[sound.stream.index]
                    self.made.mux(sound)
                waiting = []
        if self.out is None:
            raise UserError(f"{self.source} has no frame that can be decoded")
        self.made.mux(self.out.encode())
        return self.notes

    def _frame(self, frame: Any, change: Change) -> None:
        import av

        if self.out is None and frame.color_trc in HDR:
            raise UserError(
                f"{self.source} is of high dynamic range ({HDR[frame.color_trc]}), which networks "
                "for usual pictures do not know; convert it to SDR first"
            )
        matrix = MATRICES.get(frame.colorspace, BT709 if frame.height >= HD_ROWS else BT601)
        rgb = frame.reformat(format=RGB, src_colorspace=matrix).to_ndarray()
        upright = np.ascontiguousarray(np.rot90(rgb, frame.rotation // 90))
        made = change(upright)
        assert made.shape == upright.shape
        if self.out is None:
            self.out = self._begin(frame, made)
        new = av.VideoFrame.from_ndarray(np.ascontiguousarray(made), RGB)
        new = new.reformat(format=self.out.codec_context.pix_fmt, dst_colorspace=matrix)
        new.pts, new.time_base = frame.pts, frame.time_base
        new.colorspace, new.color_range = frame.colorspace, BT709
        self.made.mux(self.out.encode(new))

    def _begin(self, frame: Any, made: np.ndarray) -> Any:
        """The stream of new frames, with what the old one tells of itself."""
        rate = self.pictures.average_rate or 25
        out = self.made.add_stream(self.encoder, rate=rate, options=self.options)
        height, width = made.shape[:2]
        context = out.codec_context
        out.width, out.height = width, height
        deep = max(part.bits for part in frame.format.components) > 8
        out.pix_fmt = f"yuv{444 if width % 2 or height % 2 else 420}p{'10le' * deep}"
        out.time_base = context.time_base = self.pictures.time_base
        context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
        context.colorspace, context.color_range = frame.colorspace, 1  # of limited range
        return out
