"""Videos whose frames go through a function: real files, made and read by PyAV."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from data.photo.video import translate_video
from util.errors import UserError

av = pytest.importorskip("av")

RATE = 48000
ROTATIONS = {  # the matrices of a file's track header, and how often np.rot90 makes it upright
    "left": ((0, 0x10000, 0, 0xFFFF0000, 0, 0), 3),
    "upside down": ((0xFFFF0000, 0, 0, 0, 0xFFFF0000, 0), 2),
    "right": ((0, 0xFFFF0000, 0, 0x10000, 0, 0), 1),
}


def make(
    path: Path,
    codec: str = "libx264",
    audio: str | None = "aac",
    *,
    size=(96, 64),
    repeated=1,
    language="",
    **tells,
):
    """Six frames of coloured waves, the third later than usual, and a tone; all some times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    with av.open(str(path), "w") as file:
        pictures = file.add_stream(
            codec, rate=24, options={"crf": "5"} if codec == "libx264" else {}
        )
        pictures.width, pictures.height = size
        pictures.pix_fmt = tells.pop("pix_fmt", "yuv444p" if width % 2 else "yuv420p")
        pictures.codec_context.time_base = Fraction(1, 24)
        for name, value in tells.items():
            setattr(pictures.codec_context, name, value)
        sound = file.add_stream(audio, rate=RATE, layout="mono") if audio else None
        if language:
            sound.metadata["language"] = language
        y, x = np.mgrid[0:height, 0:width]
        times = [9 * turn + time for turn in range(repeated) for time in (0, 1, 5, 6, 7, 8)]
        for i, time in enumerate(times):
            waves = np.stack([x / 35 + i, y / 32, x / 50 + y / 60], -1)
            rgb = np.uint8(127 + 100 * np.sin(waves))
            matrix = 1 if tells.get("colorspace") == 1 else 5
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
            frame = frame.reformat(format=pictures.pix_fmt, dst_colorspace=matrix)
            frame.pts, frame.time_base = time, Fraction(1, 24)
            for name in {"colorspace", "color_range"} & set(tells):
                setattr(frame, name, tells[name])
            file.mux(pictures.encode(frame))
            if sound:
                tone = np.sin(np.arange(2000) / 20)[None].astype(np.float32)
                heard = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
                heard.sample_rate, heard.pts = RATE, i * 2000
                file.mux(sound.encode(heard))
        file.mux(pictures.encode())
        if sound:
            file.mux(sound.encode())
    return path


def frames(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    with av.open(str(path)) as file:
        found = list(file.decode(video=0))
    return [(f.pts * f.time_base, f.to_ndarray(format="rgb24").astype(float)) for f in found]


def sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(file.streams.audio[0]) if packet.size]


@pytest.mark.parametrize(
    "name, codec, audio, result",
    [
        ("a.mp4", "libx264", "aac", "b.mp4"),
        ("a.MOV", "libx264", "aac", "b.MOV"),
        ("a.mkv", "libx264", "aac", "b.mkv"),
        ("a.webm", "libvpx-vp9", "libopus", "b.webm"),
        ("a.avi", "mpeg4", "mp3", "b.mp4"),
    ],
)
def test_frames_change_at_their_times_and_the_sound_is_the_same(
    name, codec, audio, result, tmp_path
):
    source = make(tmp_path / name, codec, audio)
    told: list[tuple[int, int]] = []
    target = tmp_path / result
    notes = translate_video(source, target, lambda x: 65535 - x, lambda *done: told.append(done))
    assert notes == [] and [done for done, _ in told] == [1, 2, 3, 4, 5, 6]
    assert sound(target) == sound(source)
    given, got = frames(source), frames(target)
    assert [time for time, _ in got] == [time for time, _ in given]
    for (_, before), (_, after) in zip(given, got, strict=True):
        assert np.abs(255 - before - after).mean() < 4
    assert sorted(tmp_path.iterdir()) == sorted([source, target])


@pytest.mark.parametrize("size", [(96, 64), (97, 63)])
@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize("colorspace", [1, 2, 6])
def test_colours_stay(colorspace, color_range, size, tmp_path):
    """Whatever matrix and range the file has, or does not tell; of odd sides too."""
    tells = {"colorspace": colorspace, "color_range": color_range}
    source = make(tmp_path / "a.mp4", size=size, **tells)
    translate_video(source, tmp_path / "b.mp4", lambda x: x)
    before, after = (np.stack([rgb for _, rgb in frames(x)]) for x in (source, tmp_path / "b.mp4"))
    assert np.abs((before - after).mean((0, 1, 2))).max() < 0.8, "rounding, not a level"
    assert np.abs(before - after).mean() < 2


@pytest.mark.parametrize("turned", ROTATIONS)
def test_frames_are_upright(turned, tmp_path):
    matrix, turns = ROTATIONS[turned]
    content = bytearray(make(tmp_path / "a.mp4").read_bytes())
    at = content.index(b"tkhd") + 44
    content[at : at + 24] = struct.pack(">6I", *matrix)
    (tmp_path / "a.mp4").write_bytes(content)
    seen = []
    translate_video(tmp_path / "a.mp4", tmp_path / "b.mp4", lambda x: seen.append(x.shape) or x)
    (_, before), (_, after) = frames(tmp_path / "a.mp4")[0], frames(tmp_path / "b.mp4")[0]
    assert set(seen) == {after.shape}
    assert np.abs(np.rot90(before, turns) - after).mean() < 3


def test_a_video_without_sound(tmp_path):
    source = make(tmp_path / "a.mp4", audio=None)
    assert translate_video(source, tmp_path / "b.mp4", lambda x: x) == []
    assert len(frames(tmp_path / "b.mp4")) == 6


def test_the_shape_of_pixels_and_the_order_and_languages_of_streams_stay(tmp_path):
    source = make(tmp_path / "a.mkv", sample_aspect_ratio=Fraction(16, 11), language="kor")
    translate_video(source, tmp_path / "b.mkv", lambda x: x)
    with av.open(str(tmp_path / "b.mkv")) as file:
        pictures, sound = file.streams
        assert (pictures.type, sound.type) == ("video", "audio")
        assert pictures.sample_aspect_ratio == Fraction(16, 11)
        assert sound.metadata["language"] == "kor"


@pytest.mark.parametrize("pix_fmt", ["yuv422p", "yuv444p", "gray"])
def test_the_resolution_of_colours_stays(pix_fmt, tmp_path):
    source = make(tmp_path / "a.mkv", "ffv1", pix_fmt=pix_fmt)
    translate_video(source, tmp_path / "b.mkv", lambda x: x)
    with av.open(str(tmp_path / "b.mkv")) as file:
        kept = {"gray": "yuv420p"}.get(pix_fmt, pix_fmt)
        assert file.streams.video[0].format.name == kept


def test_what_is_lost_is_told(tmp_path):
    whole = make(tmp_path / "a.mkv", repeated=9)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (note,) = translate_video(cut, tmp_path / "b.mkv", lambda x: x)
    assert note.startswith("it is cut off after ")
    clear = make(tmp_path / "clear.mkv", "ffv1", pix_fmt="bgra")
    assert translate_video(clear, tmp_path / "c.mkv", lambda x: x) == ["without its transparency"]


def test_sound_that_does_not_fit_and_disks_that_are_full(tmp_path, monkeypatch):
    source = make(tmp_path / "a.avi", "mpeg4", "pcm_s16le")
    with pytest.raises(UserError, match=r"a \.mp4 file cannot hold its sound \(pcm_s16le\).*\.mkv"):
        translate_video(source, tmp_path / "b.mp4", lambda x: x)
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.jpg is no video .*leave out --video"):
        translate_video(photo, tmp_path / "b.mp4", lambda x: x)
    if Path("/dev/full").exists():
        (tmp_path / "full.mp4.tmp").symlink_to("/dev/full")
        with pytest.raises(UserError, match=r"full\.mp4 cannot be written"):
            translate_video(make(tmp_path / "c.mp4"), tmp_path / "full.mp4", lambda x: x)


def test_ten_bits_stay(tmp_path):
    source = make(tmp_path / "a.mkv", pix_fmt="yuv420p10le")
    translate_video(source, tmp_path / "b.mkv", lambda x: x)
    with av.open(str(tmp_path / "b.mkv")) as file:
        assert file.streams.video[0].format.name == "yuv420p10le"


def test_what_cannot_be_translated_is_refused_and_leaves_nothing(tmp_path):
    text, hdr, heard = tmp_path / "text.mp4", tmp_path / "hdr.mkv", tmp_path / "heard.mp4"
    text.write_text("no video")
    make(hdr, color_trc=16, colorspace=9)
    with av.open(str(heard), "w") as file:
        stream = file.add_stream("aac", rate=RATE)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = RATE
        file.mux([*stream.encode(silence), *stream.encode()])
    for source, reason in (
        (text, r"text\.mp4 is no whole video that can be read \(Invalid data"),
        (hdr, "high dynamic range .PQ.*convert it"),
        (heard, "has no pictures"),
    ):
        with pytest.raises(UserError, match=reason):
            translate_video(source, tmp_path / "out.mp4", lambda x: x)
    with pytest.raises(ZeroDivisionError):
        translate_video(make(tmp_path / "a.mp4"), tmp_path / "out.mp4", lambda x: 1 // 0)
    assert {path.name for path in tmp_path.iterdir()} == {text.name, hdr.name, heard.name, "a.mp4"}
