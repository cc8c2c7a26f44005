"""An exported network gives the same scores in programs without the code of this project."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support.trained import CLASSES, ready, trained

from autox3d.core.errors import Refused
from autox3d.inference import export, onnx_file
from autox3d.inference.benchmark import benchmark, markdown
from autox3d.inference.fast import plain
from autox3d.vision.arch.normalisation import NORMALISATION
from autox3d.vision.models import weights
from autox3d.vision.models.fold import folded
from autox3d.vision.models.norm import BatchNorm
from autox3d.vision.models.weights import Trained


def small(name: str) -> Trained:
    """A shipped architecture made thin and shallow, with every kind of layer that it has."""
    net, genotype, classes = trained(name)
    return Trained(net, genotype, classes, {}, {})


def nonlocal_() -> Trained:
    """A network with non-local attention."""
    found = small("autox3d_s").genotype
    groups = tuple(replace(group, attention="nonlocal") for group in found.groups)
    genotype = replace(found, groups=groups)
    return Trained(ready(genotype), genotype, CLASSES, {}, {})


@pytest.mark.parametrize(
    "name", ["autox3d_s_published_cost", "x3d_xs", "x3d_s_dense", "mobilenetv2_3d", "nonlocal"]
)
def test_a_folded_network_is_the_network_without_batch_norm(name):
    """In float64 to 1e-10, at the training crop and at a larger one; the first is left as it is.

    In float32 a CPU takes another way, through operators that do two steps at once: to 1e-4.
    """
    found = nonlocal_() if name == "nonlocal" else small(name)
    net = found.net.double()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    quick = folded(net)

    assert not any(isinstance(layer, BatchNorm) for layer in quick.modules())
    for side in (32, 40):
        clips = torch.randn(2, 3, 4, side, side, dtype=torch.float64)
        with torch.inference_mode():
            expected = net(clips)
            torch.testing.assert_close(quick(clips), expected, rtol=0, atol=1e-10)
        assert expected.std() > 0.1
    with torch.inference_mode():
        single = quick.float()(clips.float()).double()
    torch.testing.assert_close(single, expected, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in before.items())


@pytest.fixture(scope="module")
def glore() -> Trained:
    """A network with GloRe, squeeze-excite, swish, strides and shortcuts."""
    found = small("autox3d_s").genotype
    genotype = replace(found, groups=found.groups[1:4])  # an export takes seconds a dozen layers
    assert genotype.groups[-1].attention == "glore"
    return Trained(ready(genotype), genotype, CLASSES, {}, {})


@pytest.fixture(scope="module")
def files(glore, tmp_path_factory) -> Path:
    """The exported files: both formats, and int8."""
    folder = tmp_path_factory.mktemp("exported")
    for name in ("net.pt2", "net.onnx"):
        found = export.export(glore, folder / name, 40)
        assert found.difference <= export.TOLERANCE
        assert found.bytes == (folder / name).stat().st_size
    typical = torch.randint(0, 256, (4, 4, 40, 40, 3), dtype=torch.uint8)
    export.export(glore, folder / "int8.onnx", 40, typical)
    return folder


@pytest.mark.parametrize("name", ["x3d_s_dense_same_cost", "efficientnet3d_b0_like"])
@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_other_block_types_are_exported(name, ending, tmp_path):
    """Two groups of each: dense bottlenecks; mobile blocks, the first without its expansion."""
    found = small(name).genotype
    genotype = replace(found, groups=found.groups[:2])
    short = Trained(ready(genotype), genotype, CLASSES, {}, {})

    written = export.export(short, tmp_path / f"net.{ending}", 40)
    assert written.difference <= export.TOLERANCE
    assert written.bytes == (tmp_path / f"net.{ending}").stat().st_size


RUN = """
import sys, numpy as np, torch
clips, path = np.load(sys.argv[2]), sys.argv[1]
if path.endswith("pt2"):
    scores = torch.export.load(path).module()(torch.from_numpy(clips)).detach().numpy()
else:
    import onnxruntime
    session = onnxruntime.InferenceSession(path)
    (scores,) = session.run(None, {session.get_inputs()[0].name: clips})
assert not any(name.startswith("autox3d") for name in sys.modules)
np.save(sys.argv[3], scores)
"""


@pytest.mark.parametrize("name", ["net.pt2", "net.onnx"])
def test_another_program_gets_the_same_scores(glore, files, name, tmp_path):
    """Without our code and for any number of clips, scores agree to 1e-4."""
    clips = torch.randn(5, 3, 4, 40, 40)
    np.save(tmp_path / "clips.npy", clips.numpy())
    paths = (files / name, tmp_path / "clips.npy", tmp_path / "scores.npy")
    subprocess.run([sys.executable, "-c", RUN, *paths], check=True, cwd=tmp_path)

    with torch.inference_mode():
        expected = plain(glore)(clips)
    assert np.abs(np.load(tmp_path / "scores.npy") - expected.numpy()).max() < 1e-4
    assert expected.std(0).max() > 1e-3  # clips differ, so equal scores mean something


def test_the_files_describe_how_to_use_them(files):
    """Classes, sizes and normalisation are where the format stores metadata."""
    session = onnxruntime.InferenceSession(files / "net.onnx")
    metadata = session.get_modelmeta().custom_metadata_map
    extra = {export.CARD: ""}
    torch.export.load(files / "net.pt2", extra_files=extra)
    card = json.loads(extra[export.CARD])

    assert json.loads(metadata["classes"]) == card["classes"] == CLASSES
    assert json.loads(metadata["normalisation"]) == card["normalisation"] == NORMALISATION
    assert (metadata["name"], json.loads(metadata["frames"]), json.loads(metadata["side"])) == (
        "tiny",
        4,
        40,
    )


def test_onnx_has_the_newest_operators(files):
    """Its operator set is the newest that both exporter and runtime support."""
    model = onnx.load(files / "net.onnx")

    assert [(one.domain, one.version) for one in model.opset_import] == [("", onnx_file.OPSET)]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_int8_stores_a_byte_a_weight_and_stays_near(glore, files):
    """The file has at most a third of the size, and scores change by hundredths at most."""
    clips = (torch.randint(0, 256, (8, 3, 4, 40, 40)) / 255 - 0.45) / 0.225
    with torch.inference_mode():
        moved = (onnx_file.read(files / "int8.onnx")(clips) - plain(glore)(clips)).abs().max()

    model = onnx.load(files / "int8.onnx")
    small = [one for one in model.graph.initializer if one.data_type == onnx.TensorProto.INT8]
    whole = [one for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    count = lambda found: sum(int(np.prod(one.dims)) for one in found)  # noqa: E731
    assert count(small) > 10 * count(whole)
    assert 0 < moved < 0.1


def test_a_file_that_scores_otherwise_is_not_written(glore, tmp_path, monkeypatch):
    """The check comes before the file is renamed, so an older file stays."""
    out = tmp_path / "net.pt2"
    out.write_text("before")
    other = folded(ready(glore.genotype))
    monkeypatch.setattr(export, "folded", lambda net: other)
    torch.nn.init.normal_(other.head.classify.weight)
    with pytest.raises(Refused) as refused:
        export.export(glore, out, 40)

    assert "from the network's, more than 1e-04. Nothing was written." in str(refused.value)
    assert out.read_text() == "before"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("name", "typical", "line"),
    [
        ("net.h5", None, "cannot be written. Give a name that ends in .pt2 or .onnx."),
        ("net.pt2", torch.zeros(1), "only ONNX computes in int8. Give a name that ends in .onnx."),
    ],
)
def test_what_cannot_be_exported_is_refused(glore, tmp_path, name, typical, line):
    """It is refused before any work."""
    with pytest.raises(Refused) as refused:
        export.export(glore, tmp_path / name, 40, typical)

    assert str(refused.value) == f"{tmp_path / name}: {line}"


def test_networks_are_timed_side_by_side(glore, tmp_path):
    """Weights in every form and a bare genotype have a row each, with cost and memory."""
    weights.save(tmp_path / "net", glore.net, glore.genotype, CLASSES, {})
    glore.genotype.save(tmp_path / "bare.yaml")
    forms = ["fast", "folded", "plain", "bfloat16", "pt2"]
    few = {"views": 4, "batch": 3, "repeats": 2, "warmup": 1, "device": "cpu", "classes": 9}
    rows = benchmark([tmp_path / "net"], forms, **few)
    rows += benchmark([tmp_path / "bare.yaml"], ["fast"], **few)

    assert [row["form"] for row in rows] == [*forms, "fast"]
    assert rows[0]["gmacs_lcr"] < rows[-1]["gmacs_lcr"]  # six classes, and nine
    for row in rows:
        assert 0 < row["batched"]["low"] <= row["batched"]["median"]
        assert row["peak_mb"] > 50
    assert len(markdown(rows).splitlines()) == 4 + len(rows)
