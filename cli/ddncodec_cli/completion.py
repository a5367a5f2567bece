"""`ddncodec completion`: what a shell needs to complete command lines, and which words stand for what."""

from __future__ import annotations

import os
from collections.abc import Collection
from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]

from ddncodec import zoo

PROGRAM = "ddncodec"
VARIABLE = "_DDNCODEC_COMPLETE"  # in the environment, where a shell asks for the words that may follow
STREAMS = (".ddn", ".ddnb")


class Shell(StrEnum):
    """The shells whose scripts are tested."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="The shell to complete in.")]) -> None:
    """Print the script that makes a shell complete ddncodec's commands, options, models and files.

    For bash: ddncodec completion bash > ~/.local/share/bash-completion/completions/ddncodec; for zsh to _ddncodec in a
    folder of fpath; for fish to ~/.config/fish/completions/ddncodec.fish.
    """
    script = get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell.value)
    # With filenames, bash puts no space after a directory, and escapes what it must.
    typer.echo(script.replace("complete -o default", "complete -o default -o filenames"))


def models(incomplete: str) -> list[str]:
    """The models whose names begin so, after a comma those of the next one; else weights files."""
    before, comma, begun = incomplete.rpartition(",")
    names = [before + comma + name for name in zoo.list_models() if name.startswith(begun)]
    return names or _files(incomplete, (".safetensors",))


def several_models(incomplete: str) -> list[str]:
    """The same, and the word for all of them."""
    return [name for name in (zoo.AUTO,) if name.startswith(incomplete)] + models(incomplete)


def streams(incomplete: str) -> list[str]:
    """The .ddn files, bare streams and directories whose paths begin so."""
    return _files(incomplete, STREAMS)


def images(incomplete: str) -> list[str]:
    """The image files and directories whose paths begin so."""
    from ddncodec.images import READ_SUFFIXES

    return _files(incomplete, READ_SUFFIXES)


def _files(incomplete: str, suffixes: Collection[str]) -> list[str]:
    """Files of these suffixes, and directories; hidden ones where a dot is typed. None where there is no such folder:
    the shell then completes as it would without us.
    """
    folder, begun = os.path.split(incomplete)
    found = []
    try:
        with os.scandir(folder or ".") as entries:
            for entry in entries:
                if entry.name.startswith(begun) and (begun.startswith(".") or not entry.name.startswith(".")):
                    path = os.path.join(folder, entry.name)
                    if entry.is_dir():
                        found.append(path + os.sep)
                    elif os.path.splitext(entry.name)[1].lower() in suffixes:
                        found.append(path)
    except OSError:
        return []
    return sorted(found)
