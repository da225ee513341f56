"""A video whose frames go through a function, with the same sound; by PyAV, where installed."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data.photo.files import ENDINGS
from util.errors import UserError, first_line
from util.files import writing
from util.packages import needed
from util.util import counted

READ = (*ENDINGS["video"], ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".3gp")
H264 = "libx264", {"crf": "16"}  # nearly without visible loss
ENCODERS = {".webm": ("libvpx-vp9", {"crf": "20", "b:v": "0"})}  # others are written as H264
FORMATS = {".mkv": "matroska", ".m4v": "mp4"}  # where it is not the ending
# Of FFmpeg's enumerations: how colours become YUV, and how brightness is encoded.
BT709, BT601, BT2020 = 1, 5, 9
MATRICES = {1: BT709, 5: BT601, 6: BT601, 9: BT2020, 10: BT2020}
MP4_SOUND = ("aac", "mp3", "mp2", "ac3", "eac3", "alac", "opus", "flac")  # copied without a change
LIMITED = 1  # range of brightness: 16 to 235, as is usual
HDR = {16: "PQ", 18: "HLG"}
RGB = "gbrp16le"  # FFmpeg's conversion to RGB of 8 bits and back would darken a video by a level
LOST = 0.9  # of the length that a file tells; less has lost its end
HD_ROWS = 720  # from which players take BT.709 where a file does not say it
DISK = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO)
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
    if source.suffix.lower() not in READ:
        raise UserError(f"{source} is no video ({', '.join(READ)}); leave out --video")
    part = target.with_name(f"{target.name}.tmp")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    try:
        with av.open(str(source)) as given:
            if not given.streams.video:
                raise UserError(f"{source} has no pictures")
            ending = target.suffix.lower()
            with av.open(str(part), "w", format=FORMATS.get(ending, ending[1:])) as made:
                notes = Copy(av, source, given, made, ending).run(change, progress)
        with writing(target):
            part.replace(target)
    except av.FFmpegError as error:
        reason = error.strerror or first_line(error)
        if isinstance(error, OSError) and error.errno in DISK:
            raise UserError(f"{target} cannot be written: {reason}") from error
        raise UserError(f"{source} is no whole video that can be read ({reason})") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return notes


class Copy:
    """One video on its way from a container of PyAV into another.

    Args:
        av: PyAV.
        ending: of the new file.
    """

    def __init__(self, av: Any, source: Path, given: Any, made: Any, ending: str):
        self.av, self.source, self.given, self.made, self.ending = av, source, given, made, ending
        self.pictures = given.streams.video[0]
        self.pictures.thread_type = "AUTO"
        self.notes: list[str] = []
        encoder, options = ENCODERS.get(ending, H264)
        # The first stream, as players expect, though only its first frame tells its size.
        self.out = made.add_stream(encoder, self.pictures.average_rate or 25, options=options)
        self.has_begun, self.end_s = False, 0.0
        made.metadata.update(given.metadata)
        self.copied = {}
        for stream in given.streams.audio:
            name = stream.codec_context.codec.canonical_name
            try:
                if ending in (".mp4", ".m4v") and name not in MP4_SOUND:
                    raise ValueError(name)
                self.copied[stream.index] = made.add_stream_from_template(stream)
            except ValueError as error:
                raise UserError(
                    f"{source}: a {ending} file cannot hold its sound ({name}); convert it to .mkv "
                    "first"
                ) from error
            self.copied[stream.index].metadata.update(stream.metadata)
        left_out = len(given.streams) - 1 - len(self.copied)
        if left_out:
            self.notes.append(f"without {counted(left_out, 'other stream')}, such as subtitles")

    def run(self, change: Change, progress: Callable[[int, int], object]) -> list[str]:
        total, done = self.pictures.frames, 0
        wanted = [s for s in self.given.streams if s is self.pictures or s.index in self.copied]
        # The header is written with the first packet, so that the first frame comes before sound.
        waiting: list[Any] = []
        for packet in self.given.demux(wanted):
            if packet.pts is not None:
                self.end_s = max(
                    self.end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base)
                )
            if packet.stream is not self.pictures:
                if packet.dts is not None:
                    waiting.append(packet)
            else:
                for frame in packet.decode():
                    self._frame(frame, change)
                    done += 1
                    progress(done, total)
            if self.has_begun:
                for sound in waiting:
                    sound.stream = self.copied[sound.stream.index]
                    self.made.mux(sound)
                waiting = []
        if not self.has_begun:
            raise UserError(f"{self.source} has no frame that can be decoded")
        self.made.mux(self.out.encode())
        length_s = (self.given.duration or 0) / self.av.time_base
        end_s = self.end_s - (self.given.start_time or 0) / self.av.time_base
        if end_s < LOST * length_s - 0.5:
            self.notes.append(f"it is cut off after {end_s:.1f} of {length_s:.1f} s")
        return self.notes

    def _frame(self, frame: Any, change: Change) -> None:
        if not self.has_begun and frame.color_trc in HDR:
            raise UserError(
                f"{self.source} is of high dynamic range ({HDR[frame.color_trc]}), which networks "
                "for usual pictures do not know; convert it to SDR first"
            )
        matrix = MATRICES.get(frame.colorspace, BT709 if frame.height >= HD_ROWS else BT601)
        rgb = frame.reformat(format=RGB, src_colorspace=matrix).to_ndarray()
        upright = np.ascontiguousarray(np.rot90(rgb, frame.rotation // 90))
        made = change(upright)
        assert made.shape == upright.shape
        if not self.has_begun:
            self._begin(frame, made)
        new = self.av.VideoFrame.from_ndarray(np.ascontiguousarray(made), RGB)
        new = new.reformat(format=self.out.codec_context.pix_fmt, dst_colorspace=matrix)
        new.pts, new.time_base = frame.pts, frame.time_base
        new.colorspace, new.color_range = frame.colorspace, LIMITED
        self.made.mux(self.out.encode(new))

    def _begin(self, frame: Any, made: np.ndarray) -> None:
        """Tell the new stream what the old one tells of itself."""
        context, form = self.out.codec_context, frame.format
        height, width = made.shape[:2]
        self.out.width, self.out.height = width, height
        chroma = 444
        if not (width % 2 or height % 2):
            chroma = {(8, 8): 420, (8, 16): 422}.get(
                (form.chroma_width(16), form.chroma_height(16)), 444
            )
        deep = max(part.bits for part in form.components) > 8
        self.out.pix_fmt = f"yuv{420 if len(form.components) == 1 else chroma}p{'10le' * deep}"
        self.out.time_base = context.time_base = self.pictures.time_base
        aspect = self.pictures.sample_aspect_ratio
        if aspect:
            context.sample_aspect_ratio = 1 / aspect if frame.rotation % 180 else aspect
        context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
        context.colorspace, context.color_range = frame.colorspace, LIMITED
        if frame.interlaced_frame:
            self.notes.append("it is interlaced: both fields of a frame were translated as one")
        if any(part.is_alpha for part in form.components):
            self.notes.append("without its transparency")
        self.has_begun = True
