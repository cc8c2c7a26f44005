"""Where a path takes its weights from: the sets of channels agree from end to end (A3D 3.2, 4.2).

Every shared weight is made to say its own row and column, and the network of a draw is read. What
it must say is worked out here anew, from the words of the paper, without the code that gathers.

    I in, O out, N inner, E hidden of squeeze-excite; M nodes and S states of GloRe, H half of O
"""

import itertools
from collections import Counter

import pytest
import torch
from support.spaces import THREE_WIDTHS as SMALL
from support.supernet import draws, small_input

from autox3d.search.path_sets import block_sets
from autox3d.search.space import Space
from autox3d.search.supernet import Supernet

BASE = 2048  # more than a space has columns; rows times this are exact in float32
ROWS_AND_COLUMNS = {
    "expand.conv.weight": "NI",
    "expand.norm.weight": "N",
    "expand.norm.bias": "N",
    "depthwise.conv.weight": "N",
    "depthwise.norm.weight": "N",
    "depthwise.norm.bias": "N",
    "gate.squeeze.weight": "EN",
    "gate.squeeze.bias": "E",
    "gate.excite.weight": "NE",
    "gate.excite.bias": "N",
    "project.conv.weight": "ON",
    "project.norm.weight": "O",
    "project.norm.bias": "O",
    "shortcut.conv.weight": "OI",
    "shortcut.norm.weight": "O",
    "shortcut.norm.bias": "O",
    "states.weight": "SO",
    "states.bias": "S",
    "nodes.weight": "MO",
    "nodes.bias": "M",
    "mix.weight": "MM",
    "mix.bias": "M",
    "update.weight": "SS",
    "extend.conv.weight": "OS",
    "extend.norm.weight": "O",
    "extend.norm.bias": "O",
    **{f"{name}.weight": "HO" for name in ("theta", "phi", "g")},
    **{f"{name}.bias": "H" for name in ("theta", "phi", "g")},
    "out.weight": "OH",
    "out.bias": "O",
    "norm.weight": "O",
    "norm.bias": "O",
}


def telling(space, selection):
    """A supernet whose weights are row * BASE + column, or their row alone where they have one."""
    supernet = Supernet(space, 5, selection)
    with torch.no_grad():
        for name, weight in supernet.widest.named_parameters():
            count = weight.shape[0]
            rows = torch.arange(count, dtype=torch.float32).view(-1, *[1] * (weight.ndim - 1))
            if weight.ndim > 1:
                columns = torch.arange(weight.shape[1]).view(1, -1, *[1] * (weight.ndim - 2))
                rows = BASE * rows + columns
            elif ".depthwise." in name:  # which type's norm: their shapes do not tell
                block, kernel = int(name.split(".")[1]), name.split(".")[3]
                group = supernet.space.groups[block_group(space, block)]
                rows = rows + BASE * group.kernel.index(kernel)
            weight.copy_(rows.expand_as(weight))
    return supernet


def block_group(space, block):
    return list(itertools.chain(*([row] * g.blocks for row, g in enumerate(space.groups))))[block]


def told(weight):
    """(rows, columns) that a weight of a path was taken from; no columns where it has one alone."""
    if weight.ndim == 1:
        return weight.long().tolist(), []
    first = weight.reshape(*weight.shape[:2], -1)
    assert (first == first[:, :, :1]).all()
    numbers = first[:, :, 0].long()
    rows, columns = numbers[:, 0] // BASE, numbers[0] % BASE
    assert torch.equal(numbers, BASE * rows[:, None] + columns)
    return rows.tolist(), columns.tolist() if weight.shape[1] > 1 else []


def arcs(widths, step, selection):
    """Candidate -> the numbers of its parts: end to end on a ring, or all from 0 on."""
    count, start, found = round(max(widths) / step), 0, {}
    for width in sorted(widths):
        size = round(width / step)
        found[width] = [(start + part) % count for part in range(size)]
        start += size if selection == "fair" else 0
    return found


def spread(parts, size):
    return [part * size + channel for part in parts for channel in range(size)]


def wanted(space, draw, selection, steps):
    """The sets of every block of `space_autox3d.yaml`, whose steps are 4, 8, 12, 24 and 0.75."""
    genotype, stage, found = space.genotype(draw, "drawn"), -1, []
    parts, size = [0], space.stem.channels  # the stem is one part
    ratios = arcs(space.groups[0].expansion, 0.75, selection)
    for group, row in zip(genotype.groups, space.groups, strict=True):
        stage += row.stride == 2
        step, here = steps[stage], arcs(row.channels, steps[stage], selection)[group.channels]
        for _ in range(group.blocks):
            cells = [8 * part + ratio for part in parts for ratio in ratios[group.expansion]]
            outputs = spread(here, step)
            found.append(
                {
                    "I": spread(parts, size),
                    "O": outputs,
                    "N": spread(cells, size * 3 // 4),
                    "M": spread(here, step // 4),
                    "S": spread(here, step // 2),
                }
            )
            parts, size = here, step
    return found


@pytest.mark.parametrize("selection", ["fair", "naive"])
def test_every_layer_is_cut_where_the_paper_says(selection):
    """The rows and columns of each layer of 12 random networks of the paper's space."""
    space = small_input("autox3d")
    supernet, seen = telling(space, selection), set()

    for draw in draws(space, 12):
        net, genotype = supernet.network(draw), space.genotype(draw, "drawn")
        sets = wanted(space, draw, selection, (4, 8, 12, 24))
        for number, row in enumerate(genotype.blocks()):
            expected = sets[number] | {"E": list(range(row.gate))}
            typed = space.groups[row.group].kernel.index(genotype.groups[row.group].kernel)
            parts = itertools.chain(
                net.blocks[number].named_parameters(), net.attention[number].named_parameters()
            )
            for name, weight in parts:
                letters = ROWS_AND_COLUMNS[name]
                rows, columns = told(weight)
                if name.startswith("depthwise.norm"):
                    assert {value // BASE for value in rows} == {typed}
                    rows = [value % BASE for value in rows]
                assert rows == expected[letters[0]], name
                assert columns == (expected[letters[1]] if len(letters) > 1 else []), name
                seen.add(name)
        assert told(net.head.get_parameter("conv.conv.weight"))[1] == sets[-1]["O"]
        first = net.head.get_parameter("conv.conv.weight").shape[0]
        assert told(net.head.get_parameter("conv.conv.weight"))[0] == list(range(first))

    assert seen == {name for name, letters in ROWS_AND_COLUMNS.items() if "H" not in letters} - {
        "out.bias", "norm.weight", "norm.bias",
    }  # fmt: skip


@pytest.mark.parametrize("selection", ["fair", "naive"])
@pytest.mark.parametrize("name", ["autox3d", "demo", "x3d_s_attention"])
def test_what_a_block_reads_is_what_the_one_before_wrote(name, selection):
    """Inside a group, into the next one, into the next stage, and into the head."""
    space = small_input(name)
    supernet = telling(space, selection)

    for draw in draws(space, 6):
        net = supernet.network(draw)
        before = list(range(space.stem.channels))
        for block, row in zip(net.blocks, space.genotype(draw, "drawn").blocks(), strict=True):
            weights = dict(block.named_parameters())
            after = told(weights["project.conv.weight"])[0]
            assert told(weights["expand.conv.weight"])[1] == before
            if row.identity:
                assert after == before
            else:
                assert told(weights["shortcut.conv.weight"]) == (after, before)
            before = after
        assert told(net.head.get_parameter("conv.conv.weight"))[1] == before


def small(folder, unit, draw):
    """{name: (rows, columns)} of both blocks and the unit behind them."""
    (folder / "space.yaml").write_text(SMALL.replace("UNIT", unit))
    space = Space.load(folder / "space.yaml")
    net = telling(space, "fair").network(draw)
    parts = {"first": net.blocks[0], "second": net.blocks[1], "unit": net.attention[1]}
    return {
        f"{part}.{name}": told(weight)
        for part, module in parts.items()
        for name, weight in module.named_parameters()
    }


def numbers(*spans):
    return [number for first, last in spans for number in range(first, last + 1)]


def test_inner_channels_nodes_and_states_by_hand(tmp_path):
    """Three parts of 4 channels: 4 is part 0, 8 is parts 1 and 2, 12 all. Expansion 3 is 1 then 0.

    The first block spans the stem, one part of 8: cells of 12. The second spans parts 1 and 2:
    cells of 6, of which a part has two. A part has one node and two states.
    """
    found = small(tmp_path, "glore", (0, 1, 1, 1))

    assert found["first.expand.conv.weight"] == (numbers((12, 23), (0, 11)), numbers((0, 7)))
    assert found["first.project.conv.weight"][0] == numbers((4, 11))
    inner = numbers((18, 23), (12, 17), (30, 35), (24, 29))
    assert found["second.expand.conv.weight"] == (inner, numbers((4, 11)))
    assert found["second.project.conv.weight"] == (numbers((4, 11)), inner)
    assert found["unit.nodes.weight"] == ([1, 2], numbers((4, 11)))
    assert found["unit.states.weight"] == ([2, 3, 4, 5], numbers((4, 11)))
    assert found["unit.mix.weight"] == ([1, 2], [1, 2])
    assert found["unit.update.weight"] == ([2, 3, 4, 5], [2, 3, 4, 5])
    assert found["unit.extend.conv.weight"] == (numbers((4, 11)), [2, 3, 4, 5])


def test_half_of_the_channels_by_hand(tmp_path):
    """A non-local unit takes two of the four channels that each part has room for."""
    found = small(tmp_path, "nonlocal", (0, 0, 1, 1))

    assert found["unit.theta.weight"] == ([2, 3, 4, 5], numbers((4, 11)))
    assert found["unit.out.weight"] == (numbers((4, 11)), [2, 3, 4, 5])


USED = {  # by stage, then the expansions: FACTS of the lists, and prefixes
    "fair": [[4] * 4 + [3] * 3, [5] + [4] * 7, *[[6] * 5 + [5] * 6] * 2, [5] * 3 + [4] * 5],
    "naive": [
        [5, 5, 5, 4, 3, 2, 1],
        [6, 6, 6, 5, 4, 3, 2, 1],
        *[[8] * 4 + [7, 6, 5, 4, 3, 2, 1]] * 2,
        [7, 7, 6, 5, 4, 3, 2, 1],
    ],
}


@pytest.mark.parametrize("selection", USED)
def test_use_counts_are_those_of_the_selection(selection):
    """Over the candidates of a choice, all else fixed: of parts of channels, and of expansions."""
    space = small_input("autox3d")
    supernet = Supernet(space, 5, selection)
    first = dict.fromkeys(range(len(space.choices)), 0)
    last = list(itertools.accumulate(group.blocks for group in space.groups))
    stages = [group.stride == 2 for group in space.groups]
    for number, choice in enumerate(space.choices):
        if choice.column not in ("channels", "expansion"):
            continue
        stage = sum(stages[: choice.group + 1]) - 1
        counts = Counter()
        for taken in range(len(choice.candidates)):
            draw = tuple((first | {number: taken}).values())
            sets = block_sets(space.genotype(draw, "drawn"), supernet.axes)[last[choice.group] - 1]
            cells = sets["O" if choice.column == "channels" else "N"].parts
            counts.update(cells if choice.column == "channels" else {cell % 8 for cell in cells})
        expected = USED[selection][stage if choice.column == "channels" else -1]
        assert [counts[part] for part in range(len(expected))] == expected
