"""Pages of the site that are made from what they describe: the start page, and the commands'."""

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
LINK = re.compile(r"\]\((?!https?:|#|docs/)([^)]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README as start page, with what it shows from outside of docs/, and the commands' help."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for shown in LINK.findall(readme):
        files.append(File.generated(config, shown, abs_src_path=str(ROOT / shown)))
    files.append(File.generated(config, "index.md", content=readme.replace("](docs/", "](")))
    files.append(File.generated(config, "commands.md", content=commands()))
    return files


def commands() -> str:
    """The help of all commands, as Markdown."""
    program = get_command(app)
    assert isinstance(program, TyperGroup)
    helps = [get_docs_for_click(obj=command, ctx=typer.Context(command), indent=1, name=name, call_prefix=app.info.name)
             for name, command in program.commands.items()]
    return "\n".join(["# Commands\n", *helps])
