"""`predict` of a stream while it runs: an answer for each clip, and one for all so far."""

from __future__ import annotations

import argparse
import signal
import sys

import torch
from torch import Tensor

from autox3d.commands.answers import line_of, named
from autox3d.core.errors import Refused
from autox3d.inference import live
from autox3d.inference.network import Moment, Network, best, load, refuse_boxed
from autox3d.ingest.source import BadVideo


def answer(args: argparse.Namespace) -> None:
    """Prints a line a clip until the stream ends, breaks off or is interrupted, then why."""
    network, all_so_far = load(args.weights), _Mean()
    refuse_boxed(network.task, network.genotype.name)
    lost, status = "", 0
    try:
        with live.opened(args.live) as stream:
            for window in stream.windows(network.input, network.rule):
                moment = network.moment(window, args.crops)
                _say(network, moment, all_so_far.add(moment), args)
            lost = stream.lost
            if stream.tally.damaged:
                damaged = f"{stream.tally.damaged} of {stream.tally.frames} frames are damaged"
                print(f"{args.live}: warning: {damaged}.", file=sys.stderr)
        if not all_so_far.count:
            raise BadVideo("undecodable", lost or "not one frame decodes")
        why, status = (f"lost ({lost})", 1) if lost else ("ended", 0)
    except KeyboardInterrupt:
        why, status = "stopped", 128 + signal.SIGINT
    except BadVideo as error:
        raise Refused(f"{args.live}: {error}. Check that it sends video.") from error
    print(f"{args.live}: {why} after {all_so_far}.", file=sys.stderr, flush=True)
    if status:
        sys.exit(status)


class _Mean:
    """The mean of all scores so far, and when the last clip ended."""

    def __init__(self) -> None:
        self.count, self._end = 0, 0.0
        self._sum: Tensor = torch.zeros(0)

    def __str__(self) -> str:
        return f"{self._end:.2f} s, {self.count} clip{'s' * (self.count != 1)}"

    def add(self, moment: Moment) -> Tensor:
        """Takes the scores of a clip, and returns the mean, float32 (C,)."""
        scores = moment.scores.double()
        self._sum = scores if not self.count else self._sum + scores
        self.count, self._end = self.count + 1, moment.end
        return (self._sum / self.count).float()


def _say(network: Network, moment: Moment, mean: Tensor, args: argparse.Namespace) -> None:
    count = len(network.classes) if args.scores else args.top
    now, so_far = (best(scores, network.classes, count) for scores in (moment.scores, mean))
    if args.json:
        times = {"begin": round(moment.begin, 3), "end": round(moment.end, 3)}
        print(line_of({**times, "top": named(now), "so_far": named(so_far)}), flush=True)
        return
    (name, score), (whole, mean_score) = now[0], so_far[0]
    begin, end = f"{moment.begin:8.2f}", f"{moment.end:8.2f}"
    line = f"{begin} to {end} s  {100 * score:5.1f} %  {name}"
    print(f"{line}   (so far {100 * mean_score:.1f} %  {whole})", flush=True)
