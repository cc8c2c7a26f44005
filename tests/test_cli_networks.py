"""`autox3d` counts, shows, draws, scales and imports networks; mistakes end in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import ARCHITECTURES

from autox3d import cli
from autox3d.core.values import ClipSpec
from autox3d.inference import published
from autox3d.sizing.scaling import thinned
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models import weights
from autox3d.vision.models.network import VideoNet


def autox3d(*words: object, monkeypatch: pytest.MonkeyPatch, status: int = 0) -> None:
    """The program, in this process."""
    monkeypatch.setattr(sys, "argv", ["autox3d", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == status


def test_count_prints_json(monkeypatch, capsys):
    """The published X3D-M: 3.76 M parameters without batch norm, 4.73 and 6.19 G."""
    autox3d("count", ARCHITECTURES / "x3d_m.yaml", "--json", monkeypatch=monkeypatch)
    found = json.loads(capsys.readouterr().out)

    assert (found["params"], found["params_without_bn"]) == (3_794_322, 3_762_858)
    assert (round(found["gmacs"], 3), round(found["gmacs_lcr"], 3)) == (4.732, 6.186)
    assert round(found["gmacs_with_bn_lcr"], 2) == 6.73
    assert (found["frames"], found["crop"], found["lcr_crop"], found["classes"]) == (
        16,
        224,
        256,
        400,
    )


def test_count_takes_other_sizes(monkeypatch, capsys):
    """The crop of the left-centre-right test, with the window of the training crop."""
    words = ("--frames", 13, "--crop", 182, "--classes", 400, "--json")
    autox3d("count", ARCHITECTURES / "x3d_s.yaml", *words, monkeypatch=monkeypatch)

    assert round(json.loads(capsys.readouterr().out)["gmacs"], 3) == 2.727


def test_count_says_which_convention_is_meant(monkeypatch, capsys):
    """Three numbers are in use under one name."""
    autox3d("count", ARCHITECTURES / "x3d_s.yaml", monkeypatch=monkeypatch)
    out = capsys.readouterr().out

    assert "G multiply-adds              1.963  at 13x160x160" in out
    assert "2.727  at 13x182x182, a crop of the left-centre-right test" in out
    assert "batch-norm output        2.960  at 13x182x182" in out


def test_show_is_table_2(monkeypatch, capsys):
    """Block, expansion, channels, blocks, stride, attention; output, parameters, multiply-adds."""
    autox3d("show", ARCHITECTURES / "autox3d_s.yaml", monkeypatch=monkeypatch)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]

    assert lines[2] == ["stem", "1x3²", "24", "2", "24x13x80²", "696", "53.9"]
    assert lines[6] == [
        *("4", "t1_s3", "2.25", "48", "3", "1", "even", "glore"),
        *("48x13x20²", "43,036", "194.9"),
    ]
    assert lines[-1] == ["total", "3,828,776", "1,979.5"]


@pytest.mark.parametrize(
    ("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG\r\n\x1a\n")], ids=["svg", "png"]
)
def test_draw_makes_the_same_picture_each_time(suffix, start, monkeypatch, tmp_path, capsys):
    """SVG and PNG, by the file's name, and it says what it wrote."""
    for name in ("a", "b"):
        out = tmp_path / f"{name}.{suffix}"
        file = ARCHITECTURES / "autox3d_s.yaml"
        autox3d("draw", file, "--out", out, monkeypatch=monkeypatch)

        assert capsys.readouterr().out == f"{out}: drawn\n"
    first, second = (tmp_path / f"{name}.{suffix}" for name in ("a", "b"))
    assert first.read_bytes().startswith(start)
    assert first.read_bytes() == second.read_bytes()
    if suffix == "svg":
        assert "glore" in first.read_text()
        assert "1.98 G multiply-adds" in first.read_text()


def test_draw_refuses_another_format(monkeypatch, tmp_path, capsys):
    """Before it draws."""
    out, file = tmp_path / "a.bmp", ARCHITECTURES / "x3d_s.yaml"
    autox3d("draw", file, "--out", out, monkeypatch=monkeypatch, status=1)

    assert capsys.readouterr().err == f"{out}: pictures are .svg or .png. Name the file so.\n"


@pytest.mark.parametrize("path", sorted(ARCHITECTURES.glob("autox3d_[ml]*.yaml")), ids=str)
def test_scaled_files_are_made_by_the_command_in_their_comment(path, monkeypatch, tmp_path):
    """To the last byte, so that no row of M and L is typed in."""
    text = path.read_text()
    words = " ".join(line[2:] for line in text.splitlines() if line.startswith("#")).split()
    assert words[0] == "autox3d"
    assert words[-1] == f"architectures/{path.name}"
    (tmp_path / "architectures").symlink_to(ARCHITECTURES)
    made = Path("made", path.name)
    monkeypatch.chdir(tmp_path)

    autox3d(*words[1:-1], made, monkeypatch=monkeypatch)

    assert made.read_text() == text.replace(f"architectures/{path.name}", str(made))


def test_imported_weights_load_with_their_class_names(monkeypatch, tmp_path):
    """SlowFast's tensors in, a folder that `evaluate` takes out."""
    clip = ClipSpec(frames=4, stride=12, crop=32, short=40)
    genotype = thinned(Genotype.load(ARCHITECTURES / "x3d_xs.yaml"), "x", clip, 0.5, 0.3)
    net = VideoNet(genotype, 2).eval()
    names = published.layer_names(genotype, "SlowFast")
    renamed = {
        f"{names[n.rpartition('.')[0]]}.{n.rpartition('.')[2]}": t
        for n, t in net.state_dict().items()
    }
    torch.save({"model_state": renamed}, tmp_path / "x.pyth")
    genotype.save(tmp_path / "x.yaml")
    (tmp_path / "classes.txt").write_text("abseiling\nair drumming\n")
    files = {"genotype": "x.yaml", "classes": "classes.txt", "out": "made"}
    words = [word for key, file in files.items() for word in (f"--{key}", tmp_path / file)]

    autox3d("import-weights", tmp_path / "x.pyth", *words, monkeypatch=monkeypatch)

    loaded = weights.load(tmp_path / "made")
    clips = torch.randn(1, 3, 4, 32, 32)
    assert loaded.classes == ["abseiling", "air drumming"]
    assert all(map(torch.equal, loaded.net.state_dict().values(), net.state_dict().values()))
    torch.testing.assert_close(loaded.net(clips), net(clips))


MISTAKES = [
    (("count", "none.yaml"), "none.yaml: cannot be read (No such file or directory). Check"),
    (
        ("count", ARCHITECTURES / "x3d_s.yaml", "--crop", 100),
        "x3d_s.yaml: the crop leaves 4 px before the head, less than its window of 5: it must be "
        "no smaller than the training crop, 160.",
    ),
    (
        ("import-weights", "none.pyth", "--genotype", ARCHITECTURES / "x3d_s.yaml", "--out", "x"),
        "none.pyth: cannot be read (No such file or directory). Check the path.",
    ),
]


@pytest.mark.parametrize(("words", "line"), MISTAKES, ids=[str(words[0]) for words, _ in MISTAKES])
def test_mistakes_end_in_one_line(words, line, monkeypatch, tmp_path, capsys):
    """File, thing and fix; status 1; no traceback."""
    monkeypatch.chdir(tmp_path)
    autox3d(*words, monkeypatch=monkeypatch, status=1)
    error = capsys.readouterr().err

    assert line in error
    assert error.count("\n") == 1


def test_the_program_counts_without_torch():
    """`autox3d count` starts in a moment: the cost is arithmetic on a table."""
    script = (
        "import sys; from autox3d import cli; "
        f"sys.argv = ['autox3d', 'count', '{ARCHITECTURES}/x3d_s.yaml']\n"
        "try: cli.main()\nfinally: print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert found.returncode == 0, found.stderr
    assert found.stdout.endswith("False\n")
