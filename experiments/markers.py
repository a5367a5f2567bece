"""Documents whose parts between `<!-- KIND: NAME -->` and `<!-- /KIND -->` are written by experiments alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def filled(text: str, kind: str, parts: Mapping[str, str]) -> str:
    """The document with what stands between its markers of a kind written anew."""
    end = f"<!-- /{kind} -->"
    for name, body in parts.items():
        begin = f"<!-- {kind}: {name} -->"
        if begin not in text:
            continue
        before, rest = text.split(begin, 1)
        text = f"{before}{begin}\n{body}\n{end}{rest.split(end, 1)[1]}"
    return text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))
