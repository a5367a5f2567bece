"""Shell completion: the words that the program answers with, and what a real bash, zsh and fish make of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ddncodec import zoo
from ddncodec_cli.app import app
from ddncodec_cli.completion import Shell


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with files of several kinds in it."""
    for name in ("face.ddn", "face.ddnb", "face.png", "Face two.jpg", "fable.txt", ".hidden.ddn"):
        (tmp_path / name).touch()
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "one.ddn").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(line: str) -> list[str]:
    """What may stand at the end of a command line, as bash is told."""
    given = line.split(" ")
    result = CliRunner().invoke(app, env={"_DDNCODEC_COMPLETE": "complete_bash", "COMP_WORDS": line,
                                          "COMP_CWORD": str(len(given) - 1)})
    assert result.exit_code == 0
    return result.stdout.split("\n")[:-1] if result.stdout.strip() else []


@pytest.mark.parametrize(("line", "expected"), [
    ("ddncodec dec", ["decode"]),
    ("ddncodec models ", ["list", "show", "copy"]),
    ("ddncodec decode --par", ["--partial"]),
    ("ddncodec decode f", ["face.ddn", "face.ddnb", "faces/"]),
    ("ddncodec decode faces/", ["faces/one.ddn"]),
    ("ddncodec info .", [".hidden.ddn"]),
    ("ddncodec encode fa", ["face.png", "faces/"]),
    ("ddncodec cut missing/", []),
    ("ddncodec encode face.png --model pla", ["placeholder"]),
    ("ddncodec encode face.png --model a", ["auto"]),
    ("ddncodec encode face.png --model binddn,k", ["binddn,k512"]),
    ("ddncodec decode face.ddn --model paper-b", ["paper-binddn32"]),
    ("ddncodec completion ", list(Shell)),
])
def test_commands_options_models_and_files_of_the_right_kind_are_completed(line: str, expected: list[str], folder: Path
                                                                          ) -> None:
    assert words(line) == expected


def test_all_models_are_offered() -> None:
    assert words("ddncodec models show ") == zoo.list_models()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_are_answered_in_their_own_forms(shell: str, folder: Path) -> None:
    result = CliRunner().invoke(app, env={"_DDNCODEC_COMPLETE": f"complete_{shell}",
                                          "_TYPER_COMPLETE_FISH_ACTION": "get-args",
                                          "_TYPER_COMPLETE_ARGS": "ddncodec decode face"})
    assert result.exit_code == 0
    assert result.stdout.split() == (["_arguments", "'*:", ":((\"face.ddn\"", '"face.ddnb"', "\"faces/\"))'"]
                                     if shell == "zsh" else ["face.ddn", "face.ddnb", "faces/"])


@pytest.fixture
def program(folder: Path) -> str:
    """PATH's value with a ddncodec of this environment in it."""
    (folder / "bin").mkdir()
    script = folder / "bin" / "ddncodec"
    script.write_text(f"#!{sys.executable}\nfrom ddncodec_cli.app import main\nmain()\n")
    script.chmod(0o755)
    return f"{script.parent}:/usr/bin:/bin"


def in_shell(shell: str, path: str, *script: str) -> list[str]:
    if not shutil.which(shell):
        pytest.skip(f"no {shell}")
    environment = {"PATH": path, "HOME": "/nonexistent", "TERM": "dumb", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([shell, *script], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_real_bash_completes_with_the_script(program: str) -> None:
    assert in_shell("bash", program, "--norc", "-c", """
        source <(ddncodec completion bash)
        complete -p ddncodec
        COMP_WORDS=(ddncodec decode Face) COMP_CWORD=2; _ddncodec_completion ddncodec
        printf '%s\\n' "${COMPREPLY[@]}"
        COMP_WORDS=(ddncodec encode Face) COMP_CWORD=2; _ddncodec_completion ddncodec
        printf '%s\\n' "${COMPREPLY[@]}"
    """) == ["complete -o default -o filenames -F _ddncodec_completion ddncodec", "", "Face two.jpg"]


def test_a_real_fish_completes_with_the_script(program: str) -> None:
    assert in_shell("fish", program, "--no-config", "-c", """
        ddncodec completion fish | source
        complete --do-complete 'ddncodec decode fa'
    """) == ["face.ddn", "face.ddnb", "faces/"]


def test_a_real_zsh_reads_the_script(program: str) -> None:
    assert in_shell("zsh", program, "-f", "-c", """
        autoload -Uz compinit; compinit -D
        eval "$(ddncodec completion zsh)"
        print $_comps[ddncodec]
    """) == ["_ddncodec_completion"]
