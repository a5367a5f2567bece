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
from markers import filled, table
from record import RECORDS, ROOT, RUNS

from ddncodec.files import atomic_write

# In this order, as later ones use what earlier ones trained.
EXPERIMENTS: tuple[str, ...] = (
    "density_1d", "density_2d", "networks", "prior", "split_and_prune_ablation", "decision_tree", "tree",
    "class_guidance", "nearest", "edges", "ablation",
)
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
    rows, pictures = [], []
    for result in found.values():
        shows = f"{result['shows']}: `{result['command']}`"
        first = (shows, str(result["minutes"]), result["differs"])
        for row in result["rows"]:
            rows.append([first[0], row["what"], row["paper"], row["ours"], *first[1:]])
            first = ("", "", "")
        pictures += [f"![{result['shows']}](paper/{name})\n\n*{shows}*" for name in result["pictures"]]
    head = ("experiment", "what", "the paper", "ours", "minutes", "what differs")
    return filled(text, "paper", {"table": table(head, rows), "pictures": "\n\n".join(pictures)})


if __name__ == "__main__":
    typer.run(main)
