"""Pages of the site that are made at build time: those that lie outside of docs/, and the commands' help."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click
from typer.core import TyperGroup
from typer.main import get_command

from ddncodec_cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
LINK = re.compile(r"\]\((?!https?:|#|docs/)([^)]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of docs/, what they show from there, and the commands' help."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        for shown in set(LINK.findall(text)) - PAGES.keys():
            files.append(File.generated(config, shown, abs_src_path=str(ROOT / shown)))
        files.append(File.generated(config, page, content=text.replace("](docs/", "](")))
    files.append(File.generated(config, "commands.md", content=commands()))
    return files


def commands() -> str:
    """The help of all commands, as Markdown."""
    program = get_command(app)
    assert isinstance(program, TyperGroup)
    helps = [get_docs_for_click(obj=command, ctx=typer.Context(command), indent=1, name=name, call_prefix="ddncodec")
             for name, command in program.commands.items()]
    return "\n".join(["# Commands\n", *helps])
