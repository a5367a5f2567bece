"""The documentation's site: it builds without a warning, and has every command and every public name."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

import ddncodec
from ddncodec_cli.app import app

ROOT = Path(__file__).parents[1]
PATH = re.compile(r"`((?:ddncodec|cli|docs|examples|experiments|models|tests)/[\w./-]*)`")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
                           cwd=ROOT, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return folder


def anchors(page: Path) -> set[str]:
    return set(re.findall(r'id="([^"]+)"', page.read_text(encoding="utf-8")))


def test_every_public_name_is_on_the_library_page(site: Path) -> None:
    assert {f"ddncodec.{name}" for name in ddncodec.__all__} <= anchors(site / "api/index.html")


def test_every_command_is_on_the_commands_page(site: Path) -> None:
    program = get_command(app)
    assert isinstance(program, TyperGroup)
    assert {f"ddncodec-{name}" for name in program.commands} <= anchors(site / "commands/index.html")


def test_the_start_page_is_the_readme_with_its_pictures(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img[^>]* src="([^"]+)"', page)
    assert pictures
    assert all((site / picture).is_file() for picture in pictures)


def test_files_that_the_documents_name_are_there() -> None:
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    named = {(document.name, path) for document in documents for path in PATH.findall(document.read_text("utf-8"))}
    assert named
    assert {name for name in named if not (ROOT / name[1]).exists()} == set()
