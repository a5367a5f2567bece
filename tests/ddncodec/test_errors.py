"""Errors keep what they say on their way from a worker process."""

import pickle
from pathlib import Path

import pytest

from ddncodec import errors


@pytest.mark.parametrize("kind", errors.DdnError.__subclasses__())
def test_an_error_that_was_pickled_is_about_the_same_file(kind: type[errors.DdnError]) -> None:
    for error in (kind("damaged"), kind("damaged", Path("a.png"))):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind
        assert (str(again), again.reason, again.name) == (str(error), error.reason, error.name)
        assert str(again.of("a.png")) == "a.png: damaged"
