"""Outputs appear whole or not at all; inputs that are not there are named."""

import os
import stat
import threading
from pathlib import Path

import pytest

from ddncodec.errors import InputMissing, OutputExists, OutputFailed
from ddncodec.files import atomic_write, open_input

DEV_FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


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


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        for overwrite in (False, True):
            with atomic_write(tmp_path / "out", overwrite=overwrite) as file:
                file.write(b"x")
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


def test_an_input_that_is_not_a_readable_file_is_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputMissing, match=f"cannot read .*{reason}"):
            open_input(path)
    (tmp_path / "yes").write_bytes(b"data")
    with open_input(tmp_path / "yes") as file:
        assert file.read() == b"data"
