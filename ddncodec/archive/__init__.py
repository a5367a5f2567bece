"""Archives: very many latents of one kind in a file, `.ddns`. Needs neither torch nor numpy."""

from ddncodec.archive.format import HEADER_BYTES, MAGIC, Header
from ddncodec.archive.reader import Archive, Block, Record, as_bytes, as_text, open_archive
from ddncodec.archive.writer import ArchiveWriter, append_archive

__all__ = [
    "HEADER_BYTES", "MAGIC", "Archive", "ArchiveWriter", "Block", "Header", "Record", "append_archive", "as_bytes",
    "as_text", "open_archive",
]
