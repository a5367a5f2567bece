"""The JavaScript decoder in Node: its own tests, which read what Python reads and decode the conformance kit."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import ddncodec
from ddncodec import zoo
from ddncodec.webmodels import copy_models

JS = Path(__file__).parents[2] / "js"


def test_its_own_tests_pass(with_javascript: None, tmp_path: Path) -> None:
    models = copy_models([zoo.find(name) for name in ("placeholder", "paper-digits")], tmp_path)
    tests = sorted((JS / "test").glob("*.test.js"))
    assert tests
    done = subprocess.run(["node", "--test", "--test-reporter=tap", *tests], cwd=JS, text=True, check=False,
                          env=os.environ | {"DDN_MODELS": str(models)}, capture_output=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "# skipped 0" in done.stdout


def test_the_package_has_this_version_and_no_registrys_host() -> None:
    assert json.loads((JS / "package.json").read_text())["version"] == ddncodec.__version__
    assert '"resolved"' not in (JS / "package-lock.json").read_text()
