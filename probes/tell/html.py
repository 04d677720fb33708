"""A report as one file that can be sent to somebody: no server, no request, no script of others."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from probes.store import sha256
from probes.tell.composing import Parts
from probes.tell.frontpage import anchor
from probes.tell.reportfolder import MANIFEST
from probes.tell.sealing import SEAL, sealed

LARGEST = 150_000
"""The largest size in bytes of a figure that is taken as a drawing (SVG) instead of a picture."""
TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".svg": "image/svg+xml"}


def page(folder: Path, parts: Parts, vectors: Mapping[Path, bytes] | None = None) -> str:
    """The page as HTML, of its parts in Markdown.

    It holds the SHA-256 of the manifest, and its own. Figures are those of ``folder``, inside the
    page; ``vectors`` are those that were drawn as SVG, by the path of their picture. Markdown that
    holds HTML is shown as text, and a picture that is not in the folder is a link.
    """
    from jinja2 import Environment
    from markupsafe import Markup

    render = functools.partial(_rendered, folder, vectors or {})
    assets = {name: _asset(f"page.{name}") for name in ("css", "js")}
    made = [
        {
            "id": c.line["id"],
            "anchor": anchor(c.line),
            "verdict": c.line["overall"],
            "family": c.line.get("family") or "none",
            "subject": c.line["subject"],
            "sentence": c.line["sentence"],
            "body": Markup(render(_body(c.text))),
            "command": c.command,
        }
        for c in parts.claims
    ]
    filters = [
        (name, sorted({str(claim[name]) for claim in made}))
        for name in ("verdict", "family", "subject")
    ]
    head, table, rest = parts.front.partition("\n\n| ")
    template = Environment(autoescape=True, trim_blocks=True).from_string(_asset("page.html"))
    text = template.render(
        seal=Markup(SEAL.format("")),
        manifest=sha256(folder / MANIFEST),
        title="What was claimed, and what was found",
        style=Markup(assets["css"]),
        script=Markup(assets["js"]),
        style_hash=_hashed(assets["css"]),
        script_hash=_hashed(assets["js"]),
        head=Markup(render(head)),
        front=Markup(render(table + rest)),
        before=Markup(render("\n\n".join(b.strip() for b in parts.before if b))),
        claims=made,
        filters=[(name, values) for name, values in filters if len(values) > 1],
        after=Markup(render("\n\n".join(a.strip() for a in parts.after if a))),
    )
    return sealed(text)


def _asset(name: str) -> str:
    return resources.files("probes.tell").joinpath(name).read_text(encoding="utf-8")


def _hashed(text: str) -> str:
    """What a policy for content calls a text that may run."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _body(text: str) -> str:
    """The section of a claim without its anchor and heading, which the page has itself."""
    return re.sub(r"\A(?:<a id=\"[^\"]*\"></a>\n)?## [^\n]*\n", "", text.strip())


def _rendered(folder: Path, vectors: Mapping[Path, bytes], text: str) -> str:
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")

    def image(tokens: Sequence[Any], at: int, *rest: Any) -> str:
        source, words = str(tokens[at].attrs.get("src", "")), html.escape(tokens[at].content)
        if inlined := _inlined(folder, source, vectors):
            return f'<img alt="{words}" src="{inlined}">'
        return f"<span>{words} ({html.escape(source)})</span>"

    reader.add_render_rule("image", lambda self, *given: image(*given))
    found = reader.render(re.sub(r"^<a id=\"[\w.%-]*\"></a>\n", "", text, flags=re.M))
    found = found.replace("<table>", '<div class="wide" tabindex="0"><table>')
    found = found.replace("</table>", "</table></div>")
    return re.sub(
        r"<p>&lt;details&gt;&lt;summary&gt;(.*?)&lt;/summary&gt;</p>(.*?)<p>&lt;/details&gt;</p>",
        r"<details><summary>\1</summary>\2</details>",
        found,
        flags=re.S,
    )


def _inlined(folder: Path, source: str, vectors: Mapping[Path, bytes]) -> str:
    """A figure of the folder as a data URL; empty for anything else."""
    path = (folder / source).resolve()
    kind = TYPES.get(path.suffix.lower())
    if kind is None or not path.is_relative_to(folder.resolve()) or not path.is_file():
        return ""
    drawn = vectors.get(folder / source)
    if drawn is not None and len(drawn) <= LARGEST:
        kind, content = TYPES[".svg"], drawn
    else:
        content = path.read_bytes()
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
