"""The layout that the Snakemake catalogue, Apptainer and reference managers expect."""

from __future__ import annotations

import re

import yaml
from support import ROOT

from autox3d import __version__


def test_the_catalogue_finds_what_it_asks_for():
    """The main definition, rules, configuration and the usage, whose flags are a profile here."""
    for name in ("workflow/Snakefile", "workflow/rules/stages.smk", "config/README.md", "LICENSE"):
        assert (ROOT / name).is_file(), name
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    flag, profile = usage["mandatory-flags"]["flags"].split()

    assert flag == "--workflow-profile"
    assert (ROOT / profile / "config.yaml").is_file()
    assert set(usage["software-stack-deployment"]) == {"conda", "apptainer", "apptainer+conda"}


def test_the_pages_of_the_workflow_point_at_files():
    """Every path and link on them."""
    for page in (ROOT / "workflow/README.md", ROOT / "config/README.md"):
        text = page.read_text()
        links = [page.parent / name for name in re.findall(r"\]\(([^)#]+)\)", text)]
        named = re.findall(r"`((?:workflow|rules|schemas|containers|src|profiles)/[\w./]+)`", text)
        places = [(page.parent / name, ROOT / name) for name in named]
        assert links
        assert [path for path in links if not path.exists()] == []
        assert [two for two in places if not any(path.exists() for path in two)] == []


def test_the_image_has_what_its_set_up_reads():
    """The files that it copies are there, and `make setup` needs no others."""
    text = (ROOT / "workflow/containers/autox3d.def").read_text()
    sections = dict(re.findall(r"(?ms)^%(\w+)\n(.*?)(?=^%|\Z)", text))
    copied = {line.split()[0] for line in sections["files"].strip().splitlines()}
    setup = (ROOT / "Makefile").read_text().partition("$(READY): ")[2].partition("\n\n")[0]

    assert text.startswith("# Build from the top of a clone: apptainer build")
    assert {"post", "environment", "runscript", "test"} <= set(sections)
    assert all((ROOT / name).exists() for name in copied)
    assert set(setup.partition("\n")[0].split()) <= copied
    assert {"src", "architectures", "README.md", "LICENSE", "Makefile"} <= copied  # of the wheel
    assert "make -C /opt/autox3d setup" in sections["post"]


def test_the_citation_has_the_version_and_the_licence():
    """The required keys of the format, and what pyproject.toml says."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())

    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert (cited["version"], cited["license"]) == (__version__, "Apache-2.0")
    assert all(author.get("name") or author.get("family-names") for author in cited["authors"])
