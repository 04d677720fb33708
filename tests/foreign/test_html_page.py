"""The page of a report as one file, in a browser."""

import base64
import importlib.util
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from probes import Lab, exceeds, falls, gaussian, rises
from probes.measure import accuracy, block_metrics
from probes.subjects.dataset import Dataset
from probes.tell import report
from probes.tell.verify import verify

WHERE = Path(__file__).with_name("browser.py")
spec = importlib.util.spec_from_file_location("browser_of_tests", WHERE)
browser = importlib.util.module_from_spec(spec)
sys.modules["browser_of_tests"] = browser
spec.loader.exec_module(browser)
here = pytest.mark.skipif(not browser.PATH, reason="no Chromium here: apt-get install chromium")
EVIL = "<script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report of three claims on two subjects, with sentences and notes that hold scripts."""
    out = tmp_path_factory.mktemp("page")
    lab = Lab(["resnet20@mnist5k#0", "plainnet20@mnist5k#0"], out / "store", images=220, quiet=True)
    under = gaussian(0, 0.2)
    table = lab.sweep(block_metrics, under=under).where(net="resnet20")
    lab.claim(f"Noise raises it {EVIL}.", rises(table, "var_h", by="site", sesoi="1 %"), "C-2")
    table = lab.sweep(accuracy, under=under)
    found = falls(table.where(net="resnet20"), "correct", sesoi="5 points")
    lab.claim(f"It falls {'very' * 80}.", found, "C-10")
    arms = ("resnet20", "plainnet20")
    lab.claim("It is more.", exceeds(table, "correct", between=arms, sesoi="30 points"), "C-1")
    (out / "report").mkdir()
    text = f"Notes {EVIL} and ![a picture](https://example.org/x.png) and ![one](../../secret.png)."
    (out / "report" / "notes.md").write_text(text)
    lab.report(out / "report")
    return out / "report"


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    shown = browser.Browser(tmp_path_factory.mktemp("chromium"))
    shown.open((folder / "report.html").as_uri())
    yield shown
    shown.close()


def test_a_page_is_one_file_beside_the_report_that_verifies(folder):
    text = (folder / "report.html").read_text()

    assert verify(folder) == []
    assert not re.findall(r"<(?:link|iframe|object|embed)\b", text)
    assert not re.findall(r'\b(?:src|href)="(?!data:image/|#)[^"]*"', text)
    assert "default-src 'none'" in text


def test_what_somebody_wrote_is_text(folder):
    text = (folder / "report.html").read_text()

    assert EVIL not in text
    assert "&lt;script&gt;document.title" in text
    assert "a picture (https://example.org/x.png)" in text
    assert "one (../../secret.png)" in text


def test_every_figure_is_inside_with_words_for_it(folder):
    text, plain = ((folder / name).read_text() for name in ("report.html", "report.md"))
    figures = re.findall(r"!\[([^\]]+)\]\((figures/[^)]+)\)", plain)
    images = re.findall(r'<img alt="([^"]+)" src="data:image/([\w+]+);base64,([^"]+)"', text)

    assert len(images) == len(figures) > 5
    assert [words for words, _, _ in images] == [words for words, _ in figures]
    assert sum(kind == "svg+xml" for _, kind, _ in images) > len(images) / 2
    assert all(b"<script" not in base64.b64decode(data) for _, _, data in images)


def test_it_is_drawn_again_to_the_same_bytes(folder):
    before = (folder / "report.html").read_bytes()
    report.draw(folder)

    assert (folder / "report.html").read_bytes() == before
    assert verify(folder) == []


def test_a_page_of_other_files_is_found(folder, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    (old / "notes.md").write_text("Other notes.")
    report.draw(old)
    shutil.copyfile(folder / "report.html", old / "report.html")

    assert verify(old) == [
        f"report.html was made of other files: probes report {old} makes it anew"
    ]


@here
def test_it_loads_without_a_request_and_without_a_complaint(page):
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
    assert page.complaints == []
    assert page.ask("document.title") == "What was claimed, and what was found"


@here
def test_claims_are_filtered_by_verdict_and_subject(page):
    verdicts = page.ask("[...document.querySelectorAll('.claim')].map(c => c.dataset.verdict)")

    def shown(key, value):
        page.ask(
            f"(() => {{ const s = document.querySelector('[data-key={key}]'); s.value = "
            f"{value!r}; s.dispatchEvent(new Event('change')); }})()"
        )
        rows = page.ask(
            "[...document.querySelectorAll('header tbody tr')].filter(r => !r.hidden).length"
        )
        found = page.ask("[...document.querySelectorAll('.claim')].filter(c => !c.hidden).length")
        return found, rows, page.ask("document.querySelector('output').textContent")

    assert len(verdicts) == 3
    for value in set(verdicts):
        n = verdicts.count(value)
        assert shown("verdict", value) == (n, n, f"{n} of 3 claims")
    assert shown("verdict", "") == (3, 3, "3 of 3 claims")


@here
def test_tables_are_sorted_by_number_and_by_name(page):
    page.ask("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    found = page.ask(
        "(() => { const t = [...document.querySelectorAll('.claim table')]"
        ".find(t => t.tBodies[0].rows.length > 5);"
        " const b = [...t.querySelectorAll('th button')]"
        ".find(b => b.textContent.includes('effect'));"
        " const at = b.parentNode.cellIndex; const read = () =>"
        " [...t.tBodies[0].rows].map(r => parseFloat(r.cells[at].textContent.replace('+', '')));"
        " b.click(); const up = read(); b.click(); return [up, read(),"
        " b.parentNode.getAttribute('aria-sort')]; })()"
    )

    assert found[0] == sorted(found[0])
    assert found[1] == sorted(found[0], reverse=True)
    assert found[2] == "descending"


@here
def test_names_that_end_with_a_number_are_sorted_by_it(page):
    found = page.ask(
        "(() => { const t = document.querySelector('header table');"
        " t.querySelector('th button').click();"
        " return [...t.tBodies[0].rows].map(r => r.cells[0].textContent); })()"
    )

    assert found == ["C-1", "C-2", "C-10"]


@here
def test_a_link_to_a_claim_unfolds_it(page):
    page.ask("document.querySelectorAll('details').forEach(d => { d.open = false; })")
    name = page.ask("document.querySelector('header tbody a').hash.slice(1)")
    page.ask(f"location.hash = {name!r}")
    page.ask("new Promise(r => setTimeout(r, 100))")

    assert page.ask(f"document.getElementById({name!r}).open") is True


@here
def test_it_can_be_read_on_a_phone_and_printed(page, folder):
    page.send("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1,
              mobile=True)  # fmt: skip
    page.ask("document.querySelectorAll('details').forEach(d => { d.open = true; })")

    assert page.ask("document.documentElement.scrollWidth") <= 390
    printed = base64.b64decode(page.send("Page.printToPDF")["data"])
    assert printed.startswith(b"%PDF")
    assert len(printed) > 50_000


def luminance(colour):
    values = [int(v) / 255 for v in re.findall(r"\d+", colour)[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@here
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_stand_out_from_their_ground(page, scheme):
    """4.5 to 1, WCAG 2.2 AA."""
    page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme",
                                                       "value": scheme}])  # fmt: skip
    pairs = page.ask(
        "(() => { const ground = e => { while (e) { const c = getComputedStyle(e).backgroundColor;"
        " if (c !== 'rgba(0, 0, 0, 0)') return c; e = e.parentElement; } return 'rgb(255,255,255)';"
        " }; return [...document.querySelectorAll('p, a, code, th, td, output, .verdict, .sentence,"
        " label, select, h1, h2')].map(e => [e.tagName + '.' + e.className,"
        " getComputedStyle(e).color, ground(e)]); })()"
    )
    for name, ink, paper in pairs:
        light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ink, paper)
    page.send("Emulation.setEmulatedMedia", features=[])


def test_classes_that_are_called_scripts_are_text(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (240, 1, 28, 28), np.uint8)
    data = Dataset(
        "mine", "mine", "test", images, np.arange(240) % 10, np.arange(240),
        (EVIL, *map(str, range(9))), (0.5,), (0.5,),
    )  # fmt: skip
    from probes.subjects.nets import nets

    lab = Lab(nets["resnet20"](1, 10), data, store=tmp_path / "store", quiet=True)
    table = lab.sweep(block_metrics, under=gaussian(0, 0.2))
    lab.claim("It rises.", rises(table, "var_h", by="site", sesoi="1 %"))
    lab.report(tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text()

    assert EVIL not in text
