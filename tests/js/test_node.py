"""The JavaScript decoder in Node: its own tests, which read what Python reads and decode the conformance kit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import ddncodec
from ddncodec import zoo
from ddncodec.container import Stream, to_bytes
from ddncodec.export import export_decoder
from ddncodec.exported import exported
from ddncodec.latent import Latent
from ddncodec.looks import look_path, save_look
from ddncodec.webmodels import copy_models
from ddncodec.weights import read_info

JS = Path(__file__).parents[2] / "js"
GOLDEN = Path(__file__).parents[1] / "golden"


def test_its_own_tests_pass(with_javascript: None, tmp_path: Path) -> None:
    models = copy_models([zoo.find(name) for name in ("placeholder", "paper-digits")], tmp_path)
    tests = sorted((JS / "test").glob("*.test.js"))
    assert tests
    done = subprocess.run(["node", "--test", "--test-reporter=tap", *tests], cwd=JS, text=True, check=False,
                          env=os.environ | {"DDN_MODELS": str(models)}, capture_output=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "# skipped 0" in done.stdout


def test_a_look_draws_what_python_draws_with_it(with_javascript: None, tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "k2-refined.safetensors", tmp_path / "weights.safetensors")
    info = read_info(tmp_path / "weights.safetensors")
    export_decoder(info, tmp_path)
    random = np.random.default_rng(0)
    refiner = {name.removeprefix("refiner."): values for name, values in load_file(info.path).items()
               if name.startswith("refiner.")}
    save_look(look_path(info, "natural"), "natural", {
        name: (values + 0.2 * random.standard_normal(values.shape)).astype(np.float16)
        for name, values in refiner.items()}, info)
    latent = Latent(tuple(random.integers(info.config.k, size=info.config.levels).tolist()), info.config.k)
    side = info.config.resolution
    models = copy_models([info], tmp_path / "served")
    script = f"""
        import {{ Models, decode }} from {json.dumps((JS / "src" / "index.js").as_uri())};
        const data = Uint8Array.from(Buffer.from("{to_bytes(Stream(latent, side, side, info.id)).hex()}", "hex"));
        const models = await Models.load({json.dumps(models.as_uri())});
        const drawn = [];
        for (const look of ["faithful", ...models.list[0].looks]) {{
            const image = await decode(data, {{ models, look }});
            drawn.push(Array.from(image.data.filter((_, i) => i % 4 < 3)));
        }}
        const refused = await decode(data, {{ models, look: "none" }}).catch((error) => error.kind);
        console.log(JSON.stringify({{ drawn, refused }}));
    """
    done = subprocess.run(["node", "--input-type=module", "-e", script], cwd=JS, check=True, stdout=subprocess.PIPE)
    said = json.loads(done.stdout)
    faithful, again, natural = (np.array(pixels).reshape(side, side, 3) for pixels in said["drawn"])
    assert (said["refused"], faithful.tolist()) == ("UnknownWeights", again.tolist())
    assert np.abs(natural - faithful).max() > 3
    for drawn, look in ((faithful, "faithful"), (natural, "natural")):
        decoder = exported(info, look=look)
        assert decoder is not None
        assert np.abs(drawn - decoder.decode(latent).astype(int)).max() <= 1


def test_the_package_has_this_version_and_no_registrys_host() -> None:
    assert json.loads((JS / "package.json").read_text())["version"] == ddncodec.__version__
    assert '"resolved"' not in (JS / "package-lock.json").read_text()
