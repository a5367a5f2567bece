"""The conformance kit, and what is said of decoders that do not conform."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import agreement
import conformance_kit
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from ddncodec import load_model, zoo
from ddncodec.conformance import FORMS, Kit, deviations, info_of, read_case, read_kit, read_sheets, write_manifest
from ddncodec.decoding import StreamDecoder
from ddncodec.errors import BadKit, ChecksumMismatch, InputMissing
from ddncodec.exported import exported
from ddncodec.images import Pixels
from ddncodec.weights import Earlier, WeightsInfo, read_info, save_network
from ddncodec_cli.app import app

ROOT = Path(__file__).parents[2] / "conformance"
KIT = read_kit(ROOT)


@pytest.fixture
def small(tmp_path: Path) -> Kit:
    """A copy that has the small network's streams alone."""
    weights = {key: one for key, one in KIT.weights.items() if one.file}
    cases = [case for case in KIT.cases if case.weights in weights]
    folder = tmp_path / "kit"
    for name in (*(one.file for one in weights.values()), *(case.stream for case in cases), cases[0].sheet):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    kit = Kit(folder, weights, cases)
    write_manifest(kit)
    return kit


def torch_decoder(info: WeightsInfo) -> StreamDecoder:
    return load_model(info.path, "cpu")


def test_the_kit_has_all_forms_of_all_models_that_make_files_and_is_small() -> None:
    assert {one.model for one in KIT.weights.values() if not one.file} == {info.name for info in zoo.unconditional()}
    assert {zoo.find(one.model).id.hex() for one in KIT.weights.values() if not one.file} <= KIT.weights.keys()
    for key in KIT.weights:
        assert {case.form for case in KIT.cases if case.weights == key} == {*FORMS}
    sizes = [path.stat().st_size for path in ROOT.rglob("*") if path.is_file()]
    assert max(sizes) < 300_000
    assert sum(sizes) <= 600_000
    assert any(one.k & one.k - 1 for one in KIT.weights.values())


def test_the_manifest_says_what_the_files_hold() -> None:
    infos = {key: info_of(KIT, one) for key, one in KIT.weights.items()}
    for key, one in KIT.weights.items():
        config = infos[key].config
        assert (one.k, one.levels, one.resolution) == (config.k, config.levels, config.resolution)
    for case in KIT.cases:
        stream = read_case(KIT, case, infos[case.weights])
        assert case.form in ("bare", "text") or stream.weights_hex == case.weights
    assert {name: sheet.shape[0] for name, sheet in read_sheets(KIT).items()} == {
        case.sheet: KIT.weights[case.weights].resolution for case in KIT.cases}


def test_exported_decoders_conform() -> None:
    found = list(deviations(KIT, exported))
    assert {one.weights.model for one in found} == {info.name for info in zoo.unconditional()}
    assert all(one.conforms for one in found)


def test_torch_conforms_in_batches_of_any_size(small: Kit) -> None:
    for batch in (1, 3, None):
        (one,) = deviations(small, torch_decoder, batch)
        assert one.conforms
        assert one.streams == len(small.cases)


class Off(StreamDecoder):
    """A decoder whose first sample is off."""

    def __init__(self, info: WeightsInfo) -> None:
        self.info, self.right = info, load_model(info.path, "cpu")

    def decode_batch(self, latents: Any) -> list[Pixels]:
        images = [image.copy() for image in self.right.decode_batch(latents)]
        images[0][0, 0, 0] ^= 0x80
        return images


def test_a_decoder_that_is_off_does_not_conform_and_the_stream_is_named(small: Kit) -> None:
    (one,) = deviations(small, Off)
    assert not one.conforms
    assert one.largest == 128
    assert one.worst == small.cases[0].stream
    assert one.differing == pytest.approx(1 / (len(small.cases) * 3 * 16 * 16), rel=1)


def test_what_is_no_kit_is_refused(small: Kit) -> None:
    path = small.folder / "manifest.json"
    content = json.loads(path.read_text())
    cases, weights = content["cases"], content["weights"]
    wrong = ({"index": "0"}, {"index": -1}, {"index": 99}, {"form": "other"}, {"levels": 3}, {"more": 1},
             {"sheet": "/a.png"}, {"stream": "../a"})
    for bad in ([], {}, {**content, "format": "other"}, {**content, "weights": []}, {**content, "cases": [{}]},
                {**content, "weights": [{**weights[0], "k": None}]},
                *({**content, "cases": [{**cases[0], **one}]} for one in wrong)):
        path.write_text(json.dumps(bad))
        with pytest.raises(BadKit) as caught:
            list(deviations(read_kit(small.folder), torch_decoder))
        assert "\n" not in str(caught.value)
    with pytest.raises(InputMissing):
        read_kit(small.folder / "none")


def test_a_damaged_stream_is_named(small: Kit) -> None:
    stream = small.folder / next(case.stream for case in small.cases if case.form == "file")
    stream.write_bytes(stream.read_bytes()[:-1] + b"\0")
    with pytest.raises(ChecksumMismatch, match=stream.name):
        list(deviations(small, torch_decoder))


def test_the_command_tells_deviations_and_ends_with_1_beyond_what_is_allowed(small: Kit) -> None:
    def run(*more: str) -> Any:
        return CliRunner().invoke(app, ["conformance", str(small.folder), *more])

    told = run()
    assert told.exit_code == 0
    assert told.stdout.startswith("k6-recurrent")
    assert run("--decoder", "onnx").exit_code == 1  # it has none
    sheet = small.folder / small.cases[0].sheet
    pixels = np.array(Image.open(sheet))
    pixels[0, 0, 0] ^= 0x80
    Image.fromarray(pixels).save(sheet)
    result = run("--json", "--decoder", "torch", "--batch", "2")
    assert result.exit_code == 1
    (facts,) = json.loads(result.stdout)
    assert facts["largest"] > facts["allowed"]
    assert facts["worst"] in {case.stream for case in small.cases}


def test_streams_of_superseded_weights_are_kept_with_the_deviation_that_the_newer_ones_state(
        small: Kit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (old,) = small.weights.values()
    newer = tmp_path / "k6-recurrent.safetensors"
    network = load_model(small.folder / old.file, "cpu").network
    with torch.no_grad():
        next(network.parameters()).mul_(1.001)
    save_network(newer, network, "newer", earlier=[Earlier(bytes.fromhex(old.id), 2)])
    monkeypatch.setattr(conformance_kit, "SMALL", newer)
    monkeypatch.setattr(zoo, "unconditional", tuple)
    for _ in range(2):
        conformance_kit.main(small.folder)
        kit = read_kit(small.folder)
        assert {one.id: one.allowed for one in kit.weights.values()} == {read_info(newer).id.hex(): 1, old.id: 3}
        assert [case for case in kit.cases if case.weights == old.id] == small.cases
        assert all(one.conforms for one in deviations(kit, torch_decoder))


def test_the_table_of_agreement_has_64_bit_numbers_and_says_what_was_not_run(
        small: Kit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(agreement, "ROOT", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ran = agreement.row("64", agreement.double_precision(small.folder))
    assert torch.get_default_dtype() == torch.float32
    assert ran[:2] == ["64", str(len(small.cases))]
    assert int(ran[2][0]) <= 1
    for skipped in (agreement.cuda(small.folder), agreement.web_assembly(small.folder)):
        assert agreement.row("other", skipped)[1].startswith("not run: ")
    assert agreement.missing(agreement.Way("torch, AVX-512", ()), {"avx2"})
    assert not agreement.missing(agreement.Way("torch, AVX2", ()), {"avx2"})


def test_streams_of_the_kit_stay_as_they_are_when_it_is_made_again(tmp_path: Path) -> None:
    copy = tmp_path / "kit"
    shutil.copytree(ROOT, copy)
    (copy / "streams" / "stray.ddn").touch()
    conformance_kit.main(copy)
    assert [path.relative_to(copy) for path in sorted(copy.rglob("*"))] == [
        path.relative_to(ROOT) for path in sorted(ROOT.rglob("*"))]
    assert (copy / "manifest.json").read_bytes() == (ROOT / "manifest.json").read_bytes()
