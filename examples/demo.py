"""Encodes examples/face.png with the shipped model, decodes it, prints the figures and draws both side by side.

`make demo` runs this; it does what the commands `ddncodec encode` and `ddncodec decode` do, by the Python API.
"""

from pathlib import Path

import numpy as np

from ddncodec import container, load_model
from ddncodec.files import atomic_write
from ddncodec.images import Picture, fit, read_picture, write_picture
from ddncodec.metrics.distortion import mean_psnr

PREFIXES = (144, 288, 576, 1152)  # bits
ZOOM = 3


def main() -> None:
    """Do what the module says, into the folder demo/."""
    source, out = Path(__file__).with_name("face.png"), Path("demo")
    out.mkdir(exist_ok=True)
    with open(source, "rb") as file:
        face = read_picture(file)
    height, width = face.pixels.shape[:2]
    codec = load_model()
    latent = codec.encode(face.pixels)

    data = container.to_bytes(codec.to_stream(face, latent))
    with atomic_write(out / "face.ddn", overwrite=True) as file:
        file.write(data)
    print(f"{source.name}: {width} × {height} pixels, {source.stat().st_size:,} bytes as PNG")
    print(f"{out / 'face.ddn'}: {len(data)} bytes, {8 * len(data) / (width * height):.3f} bits a pixel, "
          f"of which the latent has {latent.bits:,} bits; model {codec.info.name}, {codec.info.id.hex()}")

    pictures = [face.pixels]
    for bits in PREFIXES:
        prefix = container.from_bytes(data).latent.prefix(bits * codec.levels // PREFIXES[-1])
        decoded = fit(codec.decode(prefix), (height, width))
        pictures.append(decoded)
        print(f"  {prefix.bits:5} bits: PSNR {mean_psnr(face.pixels[None], decoded[None]):.2f} dB")
    side_by_side = np.concatenate(pictures, axis=1).repeat(ZOOM, 0).repeat(ZOOM, 1)
    for name, pixels in (("face.png", pictures[-1]), ("side-by-side.png", side_by_side)):
        with atomic_write(out / name, overwrite=True) as file:
            write_picture(Picture(pixels), file)
    print(f"{out / 'side-by-side.png'}: the original, then {', '.join(map(str, PREFIXES))} bits")


if __name__ == "__main__":
    main()
