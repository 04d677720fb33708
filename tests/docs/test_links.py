"""Links of README, docs, the changelog and the reports lead somewhere, anchors included."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]+`", re.S | re.M)
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
REPORTS = sorted(path for path in (ROOT / "reports").rglob("*.md") if "latest" not in path.parts)


def links(text):
    for one, other in LINK.findall(CODE.sub("", text)):
        target = one or other
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(page):
    """The anchors of a page: its headings as GitHub and mkdocs name them, and those it sets."""
    text = page.read_text(encoding="utf-8")
    found = set(re.findall(r"<a id=\"([^\"]+)\"", text))
    for heading in re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M), re.M
    ):
        bare = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        found |= {bare.replace(" ", "-"), re.sub(r"[-\s]+", "-", bare)}
    return found


def broken(page):
    for target in links(page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_each_link_of_the_documentation_leads_somewhere(page):
    assert list(broken(page)) == []


@pytest.mark.parametrize("page", REPORTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_each_link_of_a_report_leads_somewhere(page):
    assert list(broken(page)) == []


def test_each_page_is_in_the_navigation_or_listed_by_a_page():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = str(page.relative_to(ROOT / "docs"))
        assert name in text or name.startswith("errors/"), name


def test_the_readme_is_short():
    assert (ROOT / "README.md").stat().st_size <= 10_000
