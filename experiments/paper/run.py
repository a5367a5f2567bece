"""Runs the experiments of the paper that have not been run in this checkout, one after the other; writes docs/paper.md.

    python experiments/paper/run.py [--only-write]

Each experiment is a file beside this one, can be run alone, and leaves its findings in docs/paper. An experiment that
came to its end is not run again: remove runs/paper/NAME.done for that.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from record import RECORDS, ROOT, RUNS

from ddncodec.files import atomic_write

# In this order, as later ones use what earlier ones trained.
EXPERIMENTS: tuple[str, ...] = ("density_1d", "density_2d")
PAGE = ROOT / "docs/paper.md"


def main(only_write: Annotated[bool, typer.Option("--only-write", help="Run nothing.")] = False) -> None:
    """See the module."""
    RUNS.mkdir(parents=True, exist_ok=True)
    for name in () if only_write else EXPERIMENTS:
        done = RUNS / f"{name}.done"
        if not done.exists():
            typer.echo(f"{name}…", err=True)
            subprocess.run([sys.executable, Path(__file__).with_name(f"{name}.py")], check=True)
            done.touch()
    found = {name: json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8")) for name in EXPERIMENTS
             if (RECORDS / f"{name}.json").exists()}
    with atomic_write(PAGE, overwrite=True) as file:
        file.write(page(PAGE.read_text(encoding="utf-8"), found).encode())


def page(text: str, found: dict[str, dict[str, Any]]) -> str:
    """docs/paper.md with the table and the pictures of what was found between its markers."""
    rows = ["| experiment | what | the paper | ours | minutes | what differs |", "|---|---|---|---|---|---|"]
    pictures = []
    for result in found.values():
        first = [f"{result['shows']}: `{result['command']}`", str(result["minutes"]), result["differs"]]
        for row in result["rows"]:
            rows.append(f"| {first[0]} | {row['what']} | {row['paper']} | {row['ours']} | {first[1]} | {first[2]} |")
            first = ["", "", ""]
        pictures += [f"![{result['shows']}](paper/{name})\n\n*{result['shows']}: `{result['command']}`*"
                     for name in result["pictures"]]
    for name, body in (("table", "\n".join(rows)), ("pictures", "\n\n".join(pictures))):
        begin, end = f"<!-- paper: {name} -->", "<!-- /paper -->"
        before, rest = text.split(begin, 1)
        text = f"{before}{begin}\n{body}\n{end}{rest.split(end, 1)[1]}"
    return text


if __name__ == "__main__":
    typer.run(main)
