"""Outputs appear whole or not at all; inputs that are not there are named."""

import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ddncodec import files
from ddncodec.errors import InputMissing, OutputExists, OutputFailed
from ddncodec.files import Draft, atomic_write, discard_temporaries, open_input, publish, set_sync

DEV_FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@contextmanager
def interrupted(line: int, act: Callable[[], None]) -> Iterator[None]:
    """Within the block, the so many-th line of files.py that runs is preceded by `act`, and is the last to be."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename != files.__file__:
            return None
        count += event == "line"
        if count == line and event == "line":
            act()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def write(path: Path, content: bytes, overwrite: bool) -> None:
    with atomic_write(path, overwrite=overwrite) as file:
        file.write(content)


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with atomic_write(path, overwrite=False) as file:
        file.write(b"hello")
        assert not path.exists()
    assert path.read_bytes() == b"hello"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_when_the_block_fails(tmp_path: Path, error: type) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_write(path, overwrite=True) as file:
        file.write(b"new")
        raise error
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["out"]


def test_an_existing_file_is_refused_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with pytest.raises(OutputExists), atomic_write(path, overwrite=False):
        pytest.fail("the block must not run")
    assert path.read_bytes() == b"old"


def test_an_existing_file_is_replaced_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with atomic_write(path, overwrite=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_file_that_another_wrote_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(OutputExists), atomic_write(path, overwrite=False) as file:
        file.write(b"ours")
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_kill_at_any_moment_leaves_the_whole_output_or_none(tmp_path: Path, overwrite: bool) -> None:
    left = set()
    for line in range(1, 250):
        path = tmp_path / str(line)
        if overwrite:
            path.write_bytes(b"old")
        child = os.fork()
        if child == 0:
            with interrupted(line, lambda: os._exit(9)):
                write(path, b"new", overwrite)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            break
        left.add(path.read_bytes() if path.exists() else None)
    assert left == {b"old" if overwrite else None, b"new"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_signal_at_any_moment_leaves_no_temporary_file(tmp_path: Path, overwrite: bool) -> None:
    def act() -> None:
        discard_temporaries()
        raise SystemExit

    for line in range(1, 250):
        path = tmp_path / str(line)
        path.write_bytes(b"old")
        if not overwrite:
            path.unlink()
        try:
            with interrupted(line, act):
                write(path, b"new", overwrite)
        except SystemExit:
            continue
        break
    else:
        pytest.fail("it never ended")
    assert line > 10
    assert all(name.isdecimal() for name in names(tmp_path))
    assert all((tmp_path / name).read_bytes() in (b"old", b"new") for name in names(tmp_path))


def test_a_file_system_without_links_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*names: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    write(tmp_path / "out", b"ours", overwrite=False)
    with pytest.raises(OutputExists), atomic_write(tmp_path / "late", overwrite=False) as file:
        file.write(b"ours")
        (tmp_path / "late").write_bytes(b"theirs")
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == {"out": b"ours", "late": b"theirs"}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")
@pytest.mark.parametrize("overwrite", [False, True])
def test_content_is_on_the_disk_before_the_name_is_and_the_name_when_the_write_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    path, synced = tmp_path / "out", []
    if overwrite:
        path.write_bytes(b"old")

    def fsync(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synced.append((name.is_dir(), name.read_bytes() if name.is_file() else None,
                       path.read_bytes() if path.exists() else None))

    monkeypatch.setattr(os, "fsync", fsync)
    write(path, b"new", overwrite)
    assert synced == [(False, b"new", b"old" if overwrite else None), (True, None, b"new")]
    synced.clear()
    monkeypatch.setattr(files, "_sync", True)  # is put back at the end
    set_sync(False)
    write(path, b"newer", overwrite=True)
    assert synced == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")
def test_of_several_outputs_all_content_is_on_the_disk_before_any_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        synced.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_dir(), (tmp_path / "0").exists()))

    drafts, synced = [Draft(tmp_path / str(number), overwrite=False) for number in range(3)], []
    for number, draft in enumerate(drafts):
        draft.write(b"%d" % number)
    monkeypatch.setattr(os, "fsync", fsync)
    assert publish(drafts) == [None] * 3
    assert synced == [(False, False)] * 3 + [(True, True)]
    assert [(tmp_path / str(number)).read_bytes() for number in range(3)] == [b"0", b"1", b"2"]
    assert names(tmp_path) == ["0", "1", "2"]


def test_of_several_outputs_one_that_fails_leaves_the_others(tmp_path: Path) -> None:
    drafts = [Draft(tmp_path / name, overwrite=False) for name in "abc"]
    for draft in drafts:
        draft.write(b"ours")
    (tmp_path / "b").write_bytes(b"theirs")
    first, second, third = publish(drafts)
    assert isinstance(second, OutputExists)
    assert first is third is None
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == {
        "a": b"ours", "b": b"theirs", "c": b"ours"}


def test_what_is_overwritten_passes_its_permissions_on(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    for mode in (0o600, 0o664, 0o755):
        path.chmod(mode)
        with atomic_write(path, overwrite=True) as file:
            file.write(b"new")
            (temporary,) = tmp_path.glob(".ddn-*")
            assert stat.S_IMODE(temporary.stat().st_mode) == mode  # no moment in which others may read
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write(tmp_path / "out", b"x", overwrite=False)
        assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640
    finally:
        os.umask(old)


def test_names_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    with atomic_write(path, overwrite=False) as file:
        file.write(b"x")
    assert path.read_bytes() == b"x"


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    for overwrite, content in ((False, b"one"), (True, b"two")):
        with atomic_write(tmp_path / "link", overwrite=overwrite) as file:
            file.write(content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_bytes() == content


def test_a_missing_folder_and_a_directory_fail_in_one_line(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no" / "out", "No such file"), (tmp_path, "Is a directory")):
        with (
            pytest.raises(OutputFailed, match=f"cannot write .*{reason}") as caught,
            atomic_write(path, overwrite=True),
        ):
            pytest.fail("the block must not run")
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_fails_in_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputFailed), atomic_write(tmp_path / "out", overwrite=False):
        pytest.fail("the block must not run")


@DEV_FULL
def test_a_full_disk_is_told_as_such() -> None:
    with (
        pytest.raises(OutputFailed, match="cannot write /dev/full: No space left on device"),
        atomic_write(Path("/dev/full"), overwrite=False) as file,
    ):
        file.write(b"x" * 100)
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_fifo_is_written_to_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()), daemon=True)
    reader.start()
    with atomic_write(path, overwrite=False) as file:
        file.write(b"hello")
    reader.join(5)
    assert read == [b"hello"]
    assert path.is_fifo()


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no /dev/fd here")
def test_a_file_that_is_open_already_is_not_replaced(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as ours:
        with atomic_write(Path(f"/dev/fd/{ours.fileno()}"), overwrite=False) as file:
            file.write(b"hello")
        assert os.fstat(ours.fileno()).st_ino == (tmp_path / "out").stat().st_ino
    assert (tmp_path / "out").read_bytes() == b"hello"


def test_a_file_that_is_open_already_goes_on_where_it_is(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as ours:
        ours.write(b"one ")
        ours.flush()
        write(Path(f"/dev/fd/{ours.fileno()}"), b"two ", overwrite=False)
        ours.write(b"three")
    assert (tmp_path / "out").read_bytes() == b"one two three"


def test_an_input_that_is_not_a_readable_file_is_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputMissing, match=f"cannot be read: {reason}"):
            open_input(path)
    (tmp_path / "yes").write_bytes(b"data")
    with open_input(tmp_path / "yes") as file:
        assert file.read() == b"data"
