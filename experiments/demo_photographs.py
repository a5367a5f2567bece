"""Encodes the photographs of `ddncodec demo` anew: cli/ddncodec_cli/pages/photographs.json, which names them.

    make photos && .venv/bin/python experiments/demo_photographs.py      # when the model `placeholder` has changed

They are photographs that no training saw (`photos.toml` marks them as held out), whole rather than crops of them; two
that people can be recognised in are left out.
"""

from __future__ import annotations

import json

from photos import MANIFEST, PHOTOS, fetch

import ddncodec
from ddncodec.progress import each
from ddncodec_cli.demo import PAGES
from ddncodec_cli.progress import shown

MODEL = "placeholder"
LISTED = PAGES / "photographs.json"


def main() -> None:
    """Encode each photograph of the list."""
    entries = json.loads(LISTED.read_text(encoding="utf-8"))
    codec = ddncodec.load_model(MODEL)
    with shown(True) as progress:
        photographs = {photograph.path: photograph for photograph in fetch(MANIFEST, PHOTOS / "packages", progress)}
        for entry in each(entries, "encoding photographs", progress):
            package = entry["package"].partition(":")[0]
            (path,) = [path for path in photographs
                       if path.startswith(f"{package}/") and path.endswith(f"/{entry['file']}")]
            pixels = photographs[path].read(PHOTOS / "packages")
            entry["ddn"] = ddncodec.to_text(ddncodec.encode(pixels, codec, bare=True))
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    LISTED.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
