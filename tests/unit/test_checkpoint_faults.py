"""Whichever operation of a save fails, or is the last before the process dies, nothing is lost."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import data
import models
from options.train_options import TrainOptions, plain
from util.errors import UserError
from util.run.checkpoint import Checkpoints, load_weights, weights_path
from util.run.clock import Clock


class Died(BaseException):
    """The process is gone: no later code has any effect."""


class Disk:
    """Stands between the program and the operating system, and counts what changes files.

    Attributes:
        fails_at: number of the operation that fails, from 1; a write puts half of its bytes down.
        how: "fails": with an error, once. "is full": likewise, and so does all that needs room
            after it. "dies": the process does, and files hold what was written until then. "loses
            power": likewise, and of files not flushed to the disk half is lost.
        happened: names of the operations so far.
    """

    def __init__(self) -> None:
        self.fails_at, self.how = 0, ""
        self.happened: list[str] = []
        self.dead = False
        self.unflushed: set[Path] = set()
        self._paths: dict[int, Path] = {}

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for owner, name in ((os, "link"), (Path, "unlink"), (os, "open"), (os, "truncate")):
            patch.setattr(owner, name, self._counted(name, getattr(owner, name)))
        for name, owner in (("replace", os), ("copyfile", shutil)):
            patch.setattr(owner, name, self._moving(name, getattr(owner, name)))
        patch.setattr(os, "fsync", self._flushing(os.fsync))
        for owner in (builtins, io):  # the latter is pathlib's
            patch.setattr(owner, "open", self._opening(io.open))

    def operate(self, name: str, *, needs_room: bool = True) -> None:
        """Count an operation; raises if it is not to be."""
        if self.dead:
            raise Died
        self.happened.append(name)
        number = len(self.happened)
        if number == self.fails_at and self.how in ("dies", "loses power"):
            self.dead = True
            raise Died
        full = self.how == "is full" and number > self.fails_at > 0 and needs_room
        if number == self.fails_at or full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def lose_power(self) -> None:
        if self.how == "loses power":
            for path in filter(Path.exists, self.unflushed):
                os.truncate(path, path.stat().st_size // 2)

    def _counted(self, name: str, original: Callable) -> Callable:
        def call(*arguments, **keywords):
            self.operate(name, needs_room=name == "link")
            return original(*arguments, **keywords)

        return call

    def _moving(self, name: str, original: Callable) -> Callable:
        def call(source, target, **keywords):
            self.operate(name, needs_room=name == "copyfile")
            original(source, target, **keywords)
            if name == "copyfile" or Path(source) in self.unflushed:
                self.unflushed.add(Path(target))
            self.unflushed -= {Path(source)} if name == "replace" else set()
            return target

        return call

    def _flushing(self, original: Callable) -> Callable:
        def call(handle):
            self.operate("fsync")
            original(handle)
            self.unflushed.discard(self._paths.get(handle, Path()))

        return call

    def _opening(self, original: Callable) -> Callable:
        def call(file, mode="r", *arguments, **keywords):
            if not set(mode) & set("wax+"):
                return original(file, mode, *arguments, **keywords)
            self.operate(f"open {mode}")
            opened = original(file, mode, *arguments, **keywords)
            self._paths[opened.fileno()] = Path(file)
            self.unflushed.add(Path(file))
            return File(opened, self)

        return call


class File:
    """An open file that asks the disk when it is written, and keeps nothing back in a buffer.

    It asks at the second write and at one further on: the others are like these.
    """

    def __init__(self, file, disk: Disk):
        self.file, self.disk, self.num_writes = file, disk, 0

    def write(self, content) -> int:
        self.num_writes += 1
        try:
            if self.disk.dead or self.num_writes in (2, 16):
                self.disk.operate("write")
        except (OSError, Died):
            if len(self.disk.happened) == self.disk.fails_at:
                self.file.write(content[: len(content) // 2])
                self.file.flush()
            raise
        count = self.file.write(content)
        self.file.flush()
        return count

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str):
        return getattr(self.file, name)


class Count:
    """A part of a checkpoint."""

    def __init__(self) -> None:
        self.number = 0

    def state_dict(self) -> dict:
        return {"number": self.number}

    def load_state_dict(self, state: dict) -> None:
        self.number = state["number"]


class Process:
    """A miniature training program: networks and state all contain their version number."""

    def __init__(self, folder: Path, keep: int = 0, keep_states: int = 0):
        self.folder, self.count, self.clock = folder, Count(), Clock(1, 9, 1)
        self.networks = {name: nn.Linear(2, 1) for name in "GD"}
        parts = {"count": self.count, "clock": self.clock}
        self.checkpoints = Checkpoints(
            folder, self.networks, parts, {}, keep=keep, keep_states=keep_states
        )

    def save(self, version: int, *labels: str) -> None:
        self.count.number = version
        self.clock.start_at(version + 1)  # as at the end of an epoch of this number
        for net in self.networks.values():
            for parameter in net.parameters():
                nn.init.constant_(parameter, version)
        self.checkpoints.save(*labels)

    def resume(self, label: str = "latest") -> int | None:
        """The version that all is of now; None where there was no checkpoint at all.

        Of a label that has lost its state, the version of its weights.
        """
        try:
            if self.checkpoints.resume(label, self.load) is None:
                self.load(label)
                raise AssertionError("weights without a state")
        except UserError as error:
            if "there is no such checkpoint" in str(error):
                return None
            if "only the weights" not in str(error):
                raise
            assert label not in ("latest", "best")
            self.load(label)
            self.count.number = int(self.networks["G"].bias)
        for net in self.networks.values():
            for parameter in net.parameters():
                assert torch.all(parameter == self.count.number)
        return self.count.number

    def load(self, label: str) -> None:
        for name, net in self.networks.items():
            net.load_state_dict(load_weights(weights_path(self.folder, label, name)))


def no_links(source: Path, target: Path) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.fixture
def faults(monkeypatch) -> Callable[..., Iterator[Disk]]:
    """`for disk in faults(how, saves): ...`: once for each operation that `saves` does.

    In each round that operation fails; when the loop's body runs, the disk works again.
    """

    def rounds(how: str, prepare: Callable[[], Callable[[], None]]) -> Iterator[Disk]:
        for number in range(1, 1000):
            act, disk = prepare(), Disk()
            disk.fails_at, disk.how = number, how
            ended = False
            with monkeypatch.context() as patch:
                disk.install(patch)
                try:
                    act()
                    ended = True
                except Died:
                    assert how in ("dies", "loses power")
                except UserError:
                    assert how in ("fails", "is full")
            disk.lose_power()
            yield disk
            if ended and len(disk.happened) < number:
                assert number > 5, disk.happened  # the faulty disk really intercepts the operations
                return
        raise AssertionError("there is no end to the operations of a save")

    return rounds


SAVES = {  # what was saved before, by version; and what is saved now
    "first": ([], ["latest"]),
    "latest": ([["latest"]], ["latest"]),
    "end of epoch": ([["latest", "1"], ["latest"]], ["latest", "2"]),
    "first end of epoch": ([["latest"]], ["latest", "1"]),
    "by iteration": ([["iter_1", "latest"], ["latest"]], ["iter_3", "latest"]),
    "best": ([["best"], ["latest", "1"]], ["best"]),
    "epoch again": ([["latest", "1"], ["latest", "2"]], ["latest", "2"]),
}


# The last one without hard links, as on exFAT.
@pytest.mark.parametrize(
    "saves, has_links", [*((name, True) for name in SAVES), ("end of epoch", False)]
)
@pytest.mark.parametrize("how", ["fails", "is full", "dies", "loses power"])
def test_each_operation_of_a_save(saves, how, has_links, faults, tmp_path, monkeypatch):
    before, now = SAVES[saves]
    new = len(before) + 1
    old = {label: version for version, labels in enumerate(before, 1) for label in labels}
    folder = tmp_path / "run"
    if not has_links:
        monkeypatch.setattr(os, "link", no_links)

    def prepare() -> Callable[[], None]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        process = Process(folder)
        for version, labels in enumerate(before, 1):
            process.save(version, *labels)
        return lambda: process.save(new, *now)

    for disk in faults(how, prepare):
        what = f"operation {disk.fails_at} of {disk.happened}"
        resumable = {label for label in (*old, *now) if resumes_from(folder, label)}
        assert any(map(str.isdigit, resumable)) or not any(map(str.isdigit, old)), what
        for label in {*old, *now}:
            expected = {old.get(label), new if label in now else old[label]}
            if label not in old:  # a label that was not whole yet: another one is taken, or none
                expected |= set(old.values())
            assert Process(folder).resume(label) in expected, f"{label}, {what}"
        if Process(folder).resume() == new:  # nothing before it is repeated
            assert {Process(folder).resume(label) for label in now} == {new}, what
        assert not list(folder.glob("*.tmp")), what
        after = Process(folder)
        after.save(new + 1, "latest", "8")
        assert Process(folder).resume() == Process(folder).resume("8") == new + 1, what
        assert states(folder) == {"latest", "8", *({"best"} & {*old, *now})}, what


@pytest.mark.parametrize("how", ["fails", "dies"])
def test_each_operation_of_a_save_that_deletes_old_checkpoints(how, faults, tmp_path):
    folder = tmp_path / "run"

    def prepare() -> Callable[[], None]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        process = Process(folder, keep=1)
        process.save(1, "latest", "1")
        return lambda: process.save(2, "latest", "2")

    for disk in faults(how, prepare):
        what = f"operation {disk.fails_at} of {disk.happened}"
        process = Process(folder, keep=1)
        assert process.resume() in (1, 2), what
        process.save(3, "latest", "3")
        assert files(folder) == unit("3", "latest"), what


def test_each_operation_of_going_on_where_a_save_could_not_tidy(faults, tmp_path):
    """The states that are too many disappear, whenever the process that deletes them dies."""
    folder = tmp_path / "run"

    def prepare() -> Callable[[], None]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        process = Process(folder, keep_states=9)
        for epoch in range(1, 6):
            process.save(epoch, "latest", str(epoch))
        return lambda: (Process(folder).resume(), Process(folder).save(6, "latest", "6"))

    for disk in faults("dies", prepare):
        what = f"operation {disk.fails_at} of {disk.happened}"
        process = Process(folder)
        assert process.resume() in (5, 6), what
        process.save(7, "latest", "7")
        assert states(folder) == {"latest", "7"}, what
        assert [Process(folder).resume(n) for n in "12345"] == [1, 2, 3, 4, 5], what


def test_who_goes_back_keeps_the_new_course(tmp_path):
    process = Process(tmp_path)
    process.checkpoints.keep_states = 9
    for epoch in (1, 2, 3, 4, 5):
        process.save(epoch, "latest", str(epoch))

    process = Process(tmp_path, keep=1)
    assert process.resume("2") == 2
    assert files(tmp_path) == unit("2", "3", "4", "5", "latest")  # 2 is the last of its course
    process.save(3, "latest", "3")
    assert files(tmp_path) == unit("3", "4", "5", "latest")
    process = Process(tmp_path, keep=1)
    assert process.resume() == 3
    for epoch in (4, 5):
        process.save(epoch, "latest", str(epoch))
    assert files(tmp_path) == unit("5", "latest")


def test_a_full_disk_is_called_so(tmp_path, monkeypatch):
    Process(tmp_path).save(1, "latest")
    for number in (1, 2, 3, 4):
        disk = Disk()
        disk.fails_at, disk.how = number, "fails"
        with monkeypatch.context() as patch:
            disk.install(patch)
            with pytest.raises(UserError) as caught:
                Process(tmp_path).save(2, "latest")
        assert "No space left on device" in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert "--continue_train" in str(caught.value)


def test_a_first_save_that_fails_promises_nothing(tmp_path, monkeypatch):
    disk = Disk()
    disk.fails_at, disk.how = 1, "is full"
    with monkeypatch.context() as patch:
        disk.install(patch)
        with pytest.raises(UserError) as caught:
            Process(tmp_path).save(1, "latest")
    assert "is whole" not in str(caught.value)


def unit(*labels: str) -> list[str]:
    """The files of these checkpoints."""
    ends = ("net_D.pth", "net_G.pth", "state.pth")
    return sorted(f"{label}_{end}" for label in labels for end in ends)


def states(folder: Path) -> set[str]:
    """The labels that have a state."""
    return {file.name.removesuffix("_state.pth") for file in folder.glob("*_state.pth")}


def resumes_from(folder: Path, label: str) -> bool:
    """Whether this very checkpoint is whole."""
    process = Process(folder)
    with contextlib.suppress(UserError):
        line = process.checkpoints.resume(label, process.load)
        return line == f"resumed from checkpoint {label} in {folder}"
    return False


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# --- Without faults -------------------------------------------------------------------------------


@pytest.mark.parametrize("has_links", [True, False], ids=["links", "copies"])
def test_saving_latest_again_leaves_the_numbered_one_alone(has_links, tmp_path, monkeypatch):
    if not has_links:
        monkeypatch.setattr(os, "link", no_links)
    process = Process(tmp_path)
    process.save(1, "latest", "1")
    content = {name: (tmp_path / name).read_bytes() for name in unit("1")}
    process.save(2, "latest")
    assert content == {name: (tmp_path / name).read_bytes() for name in unit("1")}
    process.save(3, "latest", "3")
    del content["1_state.pth"]
    assert content == {name: (tmp_path / name).read_bytes() for name in content}
    assert [Process(tmp_path).resume(label) for label in ("1", "3", "latest")] == [1, 3, 3]
    assert states(tmp_path) == {"3", "latest"}


def test_one_checkpoint_under_two_labels_is_serialised_once(tmp_path):
    Process(tmp_path).save(1, "latest", "1")
    for latest, numbered in zip(unit("latest"), unit("1"), strict=True):
        assert os.path.samefile(tmp_path / latest, tmp_path / numbered)


@pytest.mark.parametrize("keep, kept", [(0, [1, 2, 3, 9, 10]), (1, [10]), (3, [3, 9, 10])])
def test_keep_checkpoints_counts_epochs_alone(keep, kept, tmp_path):
    process = Process(tmp_path, keep)
    process.save(4, "iter_4", "latest")
    for epoch in (1, 2, 3, 9, 10):
        process.save(epoch, "latest", str(epoch))
    assert {name.partition("_net_")[0] for name in files(tmp_path) if "_net_" in name} == {
        *("latest", "iter_4", *map(str, kept)),
    }


@pytest.mark.parametrize("more, kept", [(0, "10"), (2, "3 9 10"), (9, "1 2 3 9 10")])
def test_states_stay_with_the_newest_labels(more, kept, tmp_path):
    process = Process(tmp_path, keep_states=more)
    for epoch in (1, 2, 3, 9, 10):
        process.save(epoch, "best")
        process.save(epoch, f"iter_{epoch}", "latest")
        process.save(epoch, "latest", str(epoch))
    assert states(tmp_path) == {"latest", "best", *kept.split()}
    for label in ("1", "2", "3", "9", "10", "iter_1", "iter_10"):
        assert weights_path(tmp_path, label, "G").exists()


def test_a_state_stays_until_the_run_that_resumed_from_it_has_another(tmp_path):
    """Of a run whose older checkpoints have states, as it was once."""
    process = Process(tmp_path, keep_states=9)
    process.save(1, "latest", "1")
    process.save(3, "latest", "3")
    torch.save(torch.load(tmp_path / "1_state.pth"), tmp_path / "iter_1_state.pth")
    for name in "GD":
        shutil.copy(tmp_path / f"1_net_{name}.pth", tmp_path / f"iter_1_net_{name}.pth")
    process = Process(tmp_path)
    assert process.resume("iter_1") == 1
    assert "iter_1" in states(tmp_path)
    process.save(2, "latest", "2")
    assert "iter_1" not in states(tmp_path)


def test_other_files_of_the_folder_are_left_alone(tmp_path):
    mine = ["1_notes.txt", "net_G.pth", "best_net_G.pth", "train_options.json"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    process = Process(tmp_path, keep=1)
    for version in (1, 2, 3):
        process.save(version, "latest", str(version))
    Process(tmp_path).resume()
    assert set(mine) <= set(files(tmp_path))
    assert all((tmp_path / name).read_text() == "mine" for name in mine)


# --- Files that do not belong together -----------------------------------------------------------


def mix(folder: Path, name: str) -> None:
    """Put a file of another version into checkpoint latest."""
    other = folder.with_name("other")
    other.mkdir()
    Process(other).save(9, "latest")
    shutil.copy(other / name, folder / name)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Checkpoints 1, 2 and latest, which is of version 3; all have a state."""
    folder = tmp_path / "run"
    folder.mkdir()
    process = Process(folder, keep_states=1)
    for version, labels in enumerate((["latest", "1"], ["latest", "2"], ["latest"]), 1):
        process.save(version, *labels)
    return folder


def line_of(folder: Path, label: str = "latest") -> str:
    process = Process(folder)
    line = process.checkpoints.resume(label, process.load)
    assert line is not None
    assert "\n" not in line
    return line


@pytest.mark.parametrize("name", unit("latest"))
def test_a_torn_pair_is_recognised_and_the_last_whole_one_taken(name, folder):
    mix(folder, name)
    line = line_of(folder)
    if name == "latest_state.pth":  # whole in itself, but of other networks
        assert "latest" in line
    assert "checkpoint 2" in line
    assert "do not belong together" in line
    assert Process(folder).resume() == 2


@pytest.mark.parametrize("name", unit("latest")[:2])
def test_a_network_file_that_is_missing(name, folder):
    (folder / name).unlink()
    assert "checkpoint 2" in line_of(folder)
    assert Process(folder).resume() == 2


@pytest.mark.parametrize("name", unit("latest"))
@pytest.mark.parametrize("size, rest", [(0, 0), (1, 0), (100, 0), (-1, 0), (0, 999), (100, 999)])
def test_a_file_that_was_cut_off(name, size, rest, folder):
    """Some file systems leave zeros where content did not reach the disk."""
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:size] + bytes(rest))
    assert "checkpoint 2" in line_of(folder)
    assert Process(folder).resume() == 2


def test_any_byte_that_changed_is_noticed(folder):
    """In networks and state: damage to an optimizer's state must be noticed too."""
    for name in unit("latest"):
        content = (folder / name).read_bytes()
        for place in range(0, len(content), 31):
            changed = bytearray(content)
            changed[place] ^= 0xFF
            (folder / name).write_bytes(changed)
            version = Process(folder).resume()
            assert version in (2, 3), (name, place)
            assert version == 2 or name == "latest_state.pth", (name, place)
        (folder / name).write_bytes(content)


def test_the_newest_is_taken_even_where_files_have_lost_their_times(folder):
    """As after a copy to another disk."""
    (folder / "latest_net_G.pth").unlink()
    for name in unit("1"):
        os.utime(folder / name, (2e9, 2e9))
    assert Process(folder).resume() == 2


def test_nothing_whole_is_said_as_it_is(folder):
    """The weights can still be used, but only on request."""
    for label in ("1", "2", "latest"):
        (folder / f"{label}_state.pth").write_bytes(b"torn")
    process = Process(folder)
    with pytest.raises(UserError, match=r"no other whole one.*remove .*\*_state\.pth"):
        process.checkpoints.resume("latest", process.load)
    for file in folder.glob("*_state.pth"):
        file.unlink()
    assert process.checkpoints.resume("latest", process.load) is None


@pytest.mark.parametrize(
    "label, flag", [("1", "--epoch 1"), ("latest", "--epoch latest"), ("iter_4", "--load_iter 4")]
)
def test_a_label_without_state_takes_no_other_and_names_those_that_have_one(label, flag, folder):
    for other in ("1", "latest"):
        (folder / f"{other}_state.pth").unlink()
    for name in "GD":
        shutil.copy(folder / f"1_net_{name}.pth", folder / f"iter_4_net_{name}.pth")
    Process(folder).save(5, "best")
    before = files(folder)
    process = Process(folder)
    with pytest.raises(UserError) as caught:
        process.checkpoints.resume(label, process.load)
    message = str(caught.value)
    assert message.startswith(f"{flag}: ")
    assert "pass --epoch best or 2;" in message
    assert f"--load_pretrain {folder} {flag} " in message
    assert files(folder) == before


def test_weights_without_any_state_are_loaded_alone(folder):
    """As they come from elsewhere."""
    for file in folder.glob("*_state.pth"):
        file.unlink()
    for label in ("1", "latest"):
        process = Process(folder)
        assert process.checkpoints.resume(label, process.load) is None


def test_reading_a_checkpoint_alone_changes_no_file(folder):
    """Neither what a killed save has left nor states that are too many."""
    shutil.copy(folder / "latest_state.pth", folder / "7_state.pth.tmp")
    before = {file: file.read_bytes() for file in folder.iterdir()}
    process = Process(folder, keep=1)
    assert process.checkpoints.resume("latest", process.load, tidies=False)
    assert process.count.number == 3
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


# --- The options of a run ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["dies", "loses power"])
def test_each_operation_of_keeping_the_options(how, faults, tmp_path, monkeypatch):
    """A resumed run rewrites its options; whenever it dies, they are still there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    folder = tmp_path / "checkpoints" / "run"
    line = ["--dataroot", "photos", "--name", "run", "--ngf", "5", "--seed", "1"]

    def parse(*flags: str):
        options = TrainOptions(models.registry, data.registry)
        return options, options.parse(["--name", "run", *flags])

    def prepare() -> Callable[[], None]:
        shutil.rmtree(folder, ignore_errors=True)
        options, opt = parse(*line)
        options.save(opt)
        Process(folder).save(1, "latest")
        options, opt = parse("--continue_train", "--n_epochs", "7")
        return lambda: options.save(opt)

    for disk in faults(how, prepare):
        what = f"operation {disk.fails_at} of {disk.happened}"
        try:
            _, opt = parse("--continue_train")
        except UserError as error:
            raise AssertionError(f"{what}: {error}") from error
        assert (opt.ngf, opt.seed, opt.dataroot) == (5, 1, "photos"), what
        assert opt.n_epochs in (100, 7), what
    assert plain(opt)["n_epochs"] == 7
