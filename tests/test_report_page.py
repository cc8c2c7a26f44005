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
import results_folder
from test_report import FIGURES, report

pytestmark = pytest.mark.system

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--no-first-run"]

# Measures the page in frames as wide as a phone, a tablet and a desk.
PROBE = """<!doctype html><title>probe</title><link rel="icon" href="data:,"><script>
const found = {}, widths = [320, 360, 768, 1280];
for (const width of widths) {
  const frame = document.createElement('iframe');
  frame.width = width; frame.height = 800; frame.src = 'results/report.html?' + width;
  frame.onload = () => {
    const page = frame.contentDocument;
    const texts = [...page.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height);
    found[width] = {
      scroll: page.documentElement.scrollWidth,
      figures: page.querySelectorAll('figure svg').length,
      drawn: [...page.querySelectorAll('figure svg')]
        .filter(svg => svg.getBoundingClientRect().height > 50).length,
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
    results_folder.make(root)
    assert report(root).returncode == 0
    (root / "probe.html").write_text(PROBE)
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


def test_the_page_fits_every_width_and_asks_for_nothing(address: str, tmp_path: Path) -> None:
    """No horizontal scroll from 320 px on, every figure drawn, text legible, console silent."""
    Handler.asked.clear()
    budget = "--virtual-time-budget=20000"
    dom, said = chromium(tmp_path, "--dump-dom", budget, f"{address}/probe.html")

    found = json.loads(re.search(r"<pre>(.*?)</pre>", dom).group(1))  # pyright: ignore[reportOptionalMemberAccess]
    assert sorted(map(int, found)) == [320, 360, 768, 1280]
    for width, seen in found.items():
        assert seen["scroll"] <= int(width)
        assert seen["drawn"] == seen["figures"] == FIGURES
        assert seen["unnamed"] == 0
        assert seen["text"] >= 7  # px
    assert [line for line in said.splitlines() if "CONSOLE" in line] == []
    assert {path.partition("?")[0] for path in Handler.asked} == {
        "/probe.html",
        "/results/report.html",
    }


def test_the_page_prints(address: str, tmp_path: Path) -> None:
    """On paper: a PDF of a few pages."""
    target = tmp_path / "report.pdf"
    chromium(tmp_path / "profile", f"--print-to-pdf={target}", f"{address}/results/report.html")
    pages = len(re.findall(rb"/Type\s*/Page\b", target.read_bytes()))
    assert 3 <= pages <= 25
