"""What the fuzz tests share: how long they run, and how files are damaged."""

import os
import time
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))  # for each test, beyond its short run


def fuzz(inputs: st.SearchStrategy[bytes]) -> Callable[[Callable[[bytes], None]], Callable[[], None]]:
    """Make a check of one input a test: short and always alike; with FUZZ_SECONDS, then random until they are over."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    short = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=checks)
    long = settings(max_examples=1000, deadline=None, suppress_health_check=checks)

    def decorate(check: Callable[[bytes], None]) -> Callable[[], None]:
        def test() -> None:
            end = time.monotonic() + SECONDS
            short(given(inputs)(check))()
            while time.monotonic() < end:
                long(given(inputs)(check))()

        return test

    return decorate


@st.composite
def damaged(draw: st.DrawFn, files: list[bytes]) -> bytes:
    """A file with up to four edits: bytes replaced, flipped, zeroed, removed, doubled or put in, or its end cut."""
    data = draw(st.sampled_from(files))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)))
        end = min(len(data), place + draw(st.one_of(st.integers(1, 8), st.integers(0, 600))))
        edit = draw(st.sampled_from(["replace", "flip", "zero", "remove", "double", "insert", "cut"]))
        part = b""
        if edit == "replace":
            part = draw(st.binary(max_size=8))
            end = min(len(data), place + len(part))
        elif edit == "flip" and place < end:
            part = bytes([data[place] ^ 1 << draw(st.integers(0, 7))]) + data[place + 1 : end]
        elif edit == "zero":
            part = bytes(end - place)
        elif edit == "double":
            part = data[place:end] * 2
        elif edit == "insert":
            part, end = draw(st.binary(max_size=20)), place
        elif edit == "cut":
            end = len(data)
        data = data[:place] + part + data[end:]
    return data
