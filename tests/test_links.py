"""Every link of the pages leads somewhere: a file that is there, and a heading in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
DEFINED = re.compile(r"^\[([^\]]+)\]: (\S+)$", re.MULTILINE)  # [name]: target
NAMED = re.compile(r"\]\[([^\]]+)\]")  # [text][name]
DIRECT = re.compile(r"\]\(([^)\s]+)\)")  # [text](target)


def faults(page: Path) -> list[str]:
    """What is wrong with the links of a page, those into the web left out."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    defined = DEFINED.findall(text)
    names = [name for name, _ in defined]
    used = {" ".join(name.split()) for name in NAMED.findall(text)}
    found = [f"{name} is defined twice" for name in set(names) if names.count(name) > 1]
    found += [f"{name} is not defined" for name in used - set(names)]
    found += [f"{name} is not used" for name in set(names) - used]
    for target in [*(target for _, target in defined), *DIRECT.findall(text)]:
        path, _, heading = target.partition("#")
        to = page.parent / path if path else page
        if re.match(r"[a-z]+:", target):
            continue
        if not to.exists():
            found.append(f"{target}: no such file")
        elif heading and heading not in headings(to):
            found.append(f"{target}: no such heading")
    return sorted(found)


def headings(page: Path) -> set[str]:
    """The anchors that GitHub makes of the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        same = len([one for one in found if re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", one)])
        found.add(f"{anchor}-{same}" if same else anchor)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert faults(page) == []


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    """Of each kind, with a good one beside it; what stands in code is no link."""
    (tmp_path / "other.md").write_text("# Other\n## 30 views: 4.7 times\n## Same\n## Same\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n[a](other.md) [b](gone.md) [c](other.md#30-views-47-times) [d](#page)\n"
        "[e](other.md#nothing) [f](https://example.org/gone) `[g](code.md)` [h](other.md#same-1)\n"
        "[i][good] [j][lost\n  name]\n\n"
        "[good]: other.md\n[good]: other.md\n[idle]: other.md#same-2\n"
    )
    assert faults(page) == [
        "gone.md: no such file",
        "good is defined twice",
        "idle is not used",
        "lost name is not defined",
        "other.md#nothing: no such heading",
        "other.md#same-2: no such heading",
    ]
