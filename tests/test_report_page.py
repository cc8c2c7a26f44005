"""The report in a real browser: Debian's Chromium, without a window."""

import functools
import http.server
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import results_folder
from support.compared import COMPARED, change
from support.reports import FIGURES, HOSTILE, PICTURES, report

from autox3d.commands.compare import load
from autox3d.reporting import differences_page

pytestmark = pytest.mark.system

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--no-first-run"]

# Measures a page in frames as wide as a phone, a tablet and a desk, or as A4 between its margins.
SCREENS, PAPER = [320, 360, 768, 1280], [718]
PROBE = """<!doctype html><title>probe</title><link rel="icon" href="data:,"><script>
const found = {}, widths = %s;
for (const width of widths) {
  const frame = document.createElement('iframe');
  frame.width = width; frame.height = 800; frame.src = '%s?' + width;
  frame.onload = () => {
    const page = frame.contentDocument;
    const texts = [...page.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height);
    found[width] = {
      scroll: page.documentElement.scrollWidth,
      figures: page.querySelectorAll('figure svg').length,
      drawn: [...page.querySelectorAll('figure svg')]
        .filter(svg => svg.getBoundingClientRect().height > 50).length,
      pictures: page.querySelectorAll('figure img').length,
      loaded: [...page.querySelectorAll('figure img')]
        .filter(img => img.naturalWidth > 400 && img.alt.length > 50).length,
      text: Math.min(...texts.filter(height => height > 0)),
      unnamed: [...page.querySelectorAll('svg')].filter(svg => !svg.ariaLabel).length,
    };
    if (Object.keys(found).length === widths.length) {
      const said = document.createElement('pre');
      said.textContent = JSON.stringify(found);
      document.body.append(said);
    }
  };
  document.documentElement.append(frame);
}
</script>"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and remembers what was asked for."""

    asked: list[str] = []  # noqa: RUF012

    def log_message(self, format: str, *args: object) -> None:
        self.asked.append(self.path)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("page")
    results_folder.make(root, classes=(HOSTILE, *results_folder.CLASSES[1:]))
    assert report(root).returncode == 0
    before = load(str(root))
    change(root)
    compared = differences_page.page(before, load(str(root)))
    (root / "results/compared.html").write_text(compared)
    page = (root / "results/report.html").read_text()
    assert page.count("@media print") == 1
    (root / "results/printed.html").write_text(page.replace("@media print", "@media all"))
    for name, widths in (("report", SCREENS), ("compared", SCREENS), ("printed", PAPER)):
        probe = PROBE % (json.dumps(widths), f"results/{name}.html")
        (root / f"probe_{name}.html").write_text(probe)
    handler = functools.partial(Handler, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def chromium(profile: Path, *arguments: str) -> tuple[str, str]:
    """Its output, and what it says on the way."""
    done = subprocess.run(
        ["chromium", *FLAGS, f"--user-data-dir={profile}", "--enable-logging=stderr", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    ("name", "widths", "drawn", "pictures"),
    [
        ("report", SCREENS, FIGURES, PICTURES),
        ("compared", SCREENS, COMPARED, 0),
        ("printed", PAPER, FIGURES, PICTURES),
    ],
)
def test_a_page_fits_every_width_and_asks_for_nothing(
    address: str, tmp_path: Path, name: str, widths: list[int], drawn: int, pictures: int
) -> None:
    """No horizontal scroll from 320 px on, all drawn, text legible, console silent.

    One class is called like a script, with quotes and mathematics.
    """
    Handler.asked.clear()
    budget = "--virtual-time-budget=20000"
    dom, said = chromium(tmp_path, "--dump-dom", budget, f"{address}/probe_{name}.html")

    found = json.loads(re.search(r"<pre>(.*?)</pre>", dom).group(1))  # pyright: ignore[reportOptionalMemberAccess]
    assert sorted(map(int, found)) == widths
    for width, seen in found.items():
        assert seen["scroll"] <= int(width)
        assert seen["drawn"] == seen["figures"] == drawn
        assert seen["loaded"] == seen["pictures"] == pictures
        assert seen["unnamed"] == 0
        assert seen["text"] >= 9  # px
    assert [line for line in said.splitlines() if "CONSOLE" in line] == []
    assert {path.partition("?")[0] for path in Handler.asked} == {
        f"/probe_{name}.html",
        f"/results/{name}.html",
    }


@pytest.mark.parametrize(("name", "least", "most"), [("report", 5, 25), ("compared", 1, 8)])
def test_a_page_prints(address: str, tmp_path: Path, name: str, least: int, most: int) -> None:
    """On paper: a PDF of a few pages."""
    target = tmp_path / "page.pdf"
    chromium(tmp_path / "profile", f"--print-to-pdf={target}", f"{address}/results/{name}.html")
    pages = len(re.findall(rb"/Type\s*/Page\b", target.read_bytes()))
    assert least <= pages <= most
