"""The zoo: a folder a checkpoint, each with weights.safetensors, recipe.toml, metrics.json and card.md.

Some have a weights.prior.safetensors as well: how likely picks are.
"""

from pathlib import Path


def weights_files() -> list[Path]:
    """The weights files that ship; each one's folder bears the checkpoint's name."""
    return sorted(Path(__file__).parent.glob("*/weights.safetensors"))
