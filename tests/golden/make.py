"""Makes the golden files. Run once a format version, never to repair a failing test: see README.md beside this.

    python tests/golden/make.py
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from ddncodec import bare, container
from ddncodec.codec import load_model
from ddncodec.data import TEST_SEEDS, Faces
from ddncodec.images import Picture, Pixels, write_picture
from ddncodec.network.config import GeneratorConfig
from ddncodec.network.paper.config import BlockwiseConfig, RecurrentConfig, SingleShotConfig
from ddncodec.network.principal.config import PrincipalConfig
from ddncodec.pixels import to_pixels
from ddncodec.training.config import TrainConfig
from ddncodec.training.distributed import World
from ddncodec.training.recipe import Recipe
from ddncodec.training.trainer import Trainer
from ddncodec.weights import Earlier, load_network, read_info, save_network

HERE = Path(__file__).parent
# All generators, powers of two and not, planes and the convolutions' own features, both couplings, a refiner, the
# paper's switches.
NETWORKS: dict[str, GeneratorConfig] = {
    "k2-planes": BlockwiseConfig.default(2, 96, 16, channels=8, planes=32),
    "k3-conv": BlockwiseConfig.default(3, 40, 16, channels=8, planes=0),
    "k16-planes": BlockwiseConfig.default(16, 24, 16, channels=8, planes=32),
    "k2-principal": PrincipalConfig(k=2, resolution=16, axes=60, coded_axes=40, depth=5, frequencies=(100, 30, 20),
                                    width=16, segments=(24, 36, 36), block_bits=12),
    "k8-principal": PrincipalConfig(k=8, resolution=16, axes=60, coded_axes=40, depth=5, frequencies=(100, 30, 20),
                                    width=16, segments=(8, 12, 12), block_bits=12),
    "k2-refined": PrincipalConfig(k=2, resolution=16, axes=60, coded_axes=40, depth=5, frequencies=(100, 30, 20),
                                  width=16, segments=(24, 36, 36), block_bits=12, refiner=(8, 12)),
    "k2-growing": PrincipalConfig(k=2, resolution=16, axes=60, coded_axes=40, depth=5, frequencies=(100, 30, 20),
                                  width=16, segments=(24, 36, 36), block_bits=12, refiner=(8, 12), first_block=1),
    "k12-single-shot": SingleShotConfig.default(12, 24, 16, channels=8),
    "k5-unleaked": replace(SingleShotConfig.default(5, 8, 16, channels=8), leak=0, learning_residual=False),
    "k6-recurrent": RecurrentConfig(k=6, levels=12, resolution=16, leak=1, chain_dropout=0.05, widths=(8, 8)),
}
# In 8 bits what another network has in half precision, whose streams it decodes too, within 1 in 8 bits.
SUPERSEDING = {"k2-eight-bits": "k2-refined"}
BARE = ("k2-planes", "k3-conv", "k8-principal")  # networks that have bare streams here too


def main() -> None:
    face = to_pixels(Faces(64).draw([TEST_SEEDS[0]]))[0][:, :48]  # not square, and not the networks' size
    for name, network in NETWORKS.items():
        if (HERE / f"{name}.safetensors").exists():
            continue
        with tempfile.TemporaryDirectory() as folder:
            config = TrainConfig(steps=300, batch=16, start_images=2000, head_steps=50, couple_images=1000,
                                 validation_images=16, warmup=5)
            trainer = Trainer.create(Path(folder) / name, Recipe(network, config), World(torch.device("cpu")))
            list(trainer.run())
            trainer.validate()
            (HERE / f"{name}.safetensors").write_bytes((Path(folder) / name / "best.safetensors").read_bytes())
        make_streams(name, face)
    for name, earlier in SUPERSEDING.items():
        if (HERE / f"{name}.safetensors").exists():
            continue
        info = read_info(HERE / f"{earlier}.safetensors")
        save_network(HERE / f"{name}.safetensors", load_network(info), name, eight_bits=True,
                     earlier=[Earlier(info.id, 1)])
        make_streams(name, face)
    for name in BARE:
        if (HERE / f"{name}-bare.ddnb").exists():
            continue
        codec = load_model(str(HERE / f"{name}.safetensors"), "cpu")
        data = bare.to_bytes(container.from_bytes((HERE / f"{name}-half.ddn").read_bytes()))
        (HERE / f"{name}-bare.ddnb").write_bytes(data)
        (HERE / f"{name}-bare.txt").write_text(bare.to_text(data) + "\n")
        with open(HERE / f"{name}-bare.png", "wb") as file:
            write_picture(codec.to_pictures([codec.info.bare_stream(data)])[0], file)


def make_streams(name: str, face: Pixels) -> None:
    """A whole stream and a half one of a network, and their pictures."""
    codec = load_model(str(HERE / f"{name}.safetensors"), "cpu")
    for suffix, levels in (("", None), ("-half", codec.levels // 2)):
        stream = codec.to_stream(Picture(face), codec.encode(face, levels), comment=f"golden {name}")
        (HERE / f"{name}{suffix}.ddn").write_bytes(container.to_bytes(stream))
        with open(HERE / f"{name}{suffix}.png", "wb") as file:
            write_picture(codec.to_pictures([stream])[0], file)


if __name__ == "__main__":
    main()
