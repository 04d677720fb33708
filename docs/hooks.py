"""Hooks of mkdocs: files of the repository that pages link to (reports, figures, the changelog)
come into the site, and links to them point there.
"""

import os
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"(\]\(|src=\"|href=\")([^)\s\"#:]+)(#[^)\s\"]*)?(?=[)\"\s])")
STAND_FOR = {ROOT / "README.md": DOCS / "index.md", ROOT / "CHANGELOG.md": DOCS / "changelog.md"}
FENCE = re.compile(r"^ *```.*?^ *```$|(?<!`)`[^`\n]+`", re.S | re.M)


def on_files(files, config):
    """Add what pages link to outside of docs/, and what that links to in turn."""
    waiting = sorted(DOCS.rglob("*.md"))
    seen = set()
    while waiting:
        page = waiting.pop()
        for _, target, _ in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
            path = Path(os.path.normpath(page.parent / target))
            path = STAND_FOR.get(path, path)
            inside = path.is_relative_to(ROOT) and not path.is_relative_to(DOCS)
            if path in seen or not inside or not path.is_file():
                continue
            seen.add(path)
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
            if path.suffix == ".md":
                waiting.append(path)
    return files


def on_page_markdown(markdown, page, config, files):
    """Point links that leave docs/ to their place in the site."""
    name = page.file.src_uri
    here = (DOCS / name if (DOCS / name).exists() else ROOT / name).parent
    place = Path(name).parent

    def pointed(match):
        before, target, anchor = match.groups()
        path = Path(os.path.normpath(here / target))
        path = STAND_FOR.get(path, path)
        if not path.is_relative_to(ROOT):
            return match[0]
        base = DOCS if path.is_relative_to(DOCS) else ROOT
        return f"{before}{os.path.relpath(path.relative_to(base), place)}{anchor or ''}"

    kept = []
    text = FENCE.sub(lambda m: kept.append(m[0]) or f"\0{len(kept) - 1}\0", markdown)
    text = LINK.sub(pointed, text)
    return re.sub("\0(\\d+)\0", lambda m: kept[int(m[1])], text)


def on_page_read_source(page, config):
    """The changelog is that of the repository."""
    if page.file.src_uri == "changelog.md":
        return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")
    return None
