"""A search is one run on several processes; each chunk is dealt once, as evenly as it goes."""

import dataclasses
import itertools
import weakref

import pytest
import torch
from support.toy_search import alone, batches, fresh, same, schedule, search
from torch.multiprocessing.spawn import start_processes

from autox3d.runtime.distributed import join
from autox3d.search.constraint import Constraint
from autox3d.search.dealing import deal, is_split
from autox3d.search.loop import search_steps
from autox3d.search.strategies.parsec import STRATEGY
from autox3d.search.trace import pack
from autox3d.vision.tasks.classify import TASK


def process(rank, size, port, folder, changes):
    """One rank of a run over gloo."""
    import os

    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = str(port)
    torch.set_num_threads(1)
    with join() as world:
        state = fresh()
        per_pass = changes.get("per_pass", 1)
        for until, alpha in [(1, None), (3, batches(1, False, rank, size, 4, per_pass))]:
            own = schedule(until, place=(rank, size), **changes)
            weights = batches(0, False, rank, size, own.draws, per_pass)
            list(search_steps(state, TASK, own, weights, alpha, world.sum_))
        world.agree("alpha", state.prior.alpha)
        torch.save(state.state_dict() | {"last": state.past[-1]}, folder / f"{rank}.pt")


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("size", "per_pass"), [(2, 1), (3, 1), (5, 1), (3, 2), (3, 3)])
def test_processes_are_one_search(runner, tmp_path, size, per_pass):
    """All end with the same bits, and with what one process finds, up to the order of sums.

    Of 4 chunks of 3 draws, 2 processes split none, 3 split two and 5 split three; by 5, one chunk
    is shared by three. Of passes of 2 chunks or 3, 3 processes share one or two.
    """
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    changes = {"draws": 3, "constraint": Constraint("dual", None, None, 1.4)}
    changes |= {"per_pass": per_pass, "shared": True} if per_pass > 1 else {}
    # `runner` has started the fork server, with torch in it
    start_processes(process, (size, port, tmp_path, changes), size, start_method="forkserver")
    first, *others = (torch.load(tmp_path / f"{rank}.pt") for rank in range(size))
    one = fresh()
    list(search(one, 1, 3, **changes))

    assert all(same(first, other) for other in others)
    assert torch.allclose(first["prior"]["alpha"], one.prior.alpha, rtol=0, atol=1e-4)
    for name, weight in one.supernet.named_parameters():
        assert torch.allclose(first["supernet"][name], weight, rtol=0, atol=1e-5)
    assert first["multiplier"] == pytest.approx(one.multiplier, abs=1e-4)
    wanted = torch.cat((one.past[-1], pack(one.rows))) if one.rows else one.past[-1]
    assert torch.allclose(first["last"].nan_to_num(), wanted.nan_to_num(), atol=1e-3)


@pytest.mark.parametrize(("chunks", "draws"), [(24, 13), (4, 3), (1, 6), (5, 1), (3, 2)])
def test_every_pass_is_dealt_once(chunks, draws):
    """As evenly as it goes, at most two shared chunks a process, these first; 64 have work."""
    for size in (1, 2, 3, 7, 64):
        dealt = [deal(chunks, draws, rank, size) for rank in range(size)]
        pairs = [
            [(piece.group, draw) for piece in pieces for draw in piece.draws] for pieces in dealt
        ]

        assert sorted(itertools.chain(*pairs)) == list(
            itertools.product(range(chunks), range(draws))
        )
        counts = sorted(map(len, pairs))
        assert counts[-1] - counts[0] <= 1
        for pieces in dealt:
            whole = [piece.whole for piece in pieces]
            assert whole == sorted(whole)
            assert whole.count(False) <= 2
            assert all(piece.whole == (len(piece.draws) == draws) for piece in pieces)
        assert is_split(chunks, draws, size) == any(
            not piece.whole for pieces in dealt for piece in pieces
        )


def test_a_process_holds_two_gradients_at_most():
    """The first of 3 processes shares one chunk and has another alone; the middle shares two."""
    held = []

    def gradient(forwards, parameters, scale):
        found, values = STRATEGY.weight_gradient(forwards, parameters, scale)
        held.append(weakref.WeakSet(found[:1]))
        alive.append(sum(len(one) for one in held))
        return found, values

    for rank in range(3):
        alive = []
        held.clear()
        counting = dataclasses.replace(STRATEGY, weight_gradient=gradient)
        own = schedule(1, place=(rank, 3), draws=3, strategy=counting)
        next(search_steps(fresh(), TASK, own, batches(0, False, rank, 3, 3), None, alone))

        assert max(alive) == 2
