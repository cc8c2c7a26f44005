"""What an expansion took and found, beside a search and random networks on the same data.

Neither paper compares the two: X3D prints its expansion, Auto-X3D its search. Hours are those of
choosing a network; the last training of the network chosen is in no row. The accuracy that all
have in common is that of one view of each validation video, after the last epoch of one training.
"""

from __future__ import annotations

from autox3d.core.intervals import wilson
from autox3d.core.search_records import StudyRecord
from autox3d.reporting import results_table, worth
from autox3d.reporting.expanded import Expansion
from autox3d.reporting.layout import Source, Table, digits
from autox3d.reporting.results import Network, Results
from autox3d.vision.tasks.metric import Metric

NONE = "-"
SAID = (
    "The table of hours compares what each way to a network took, on all devices, with the "
    "accuracy of that network on the same videos: from one view of each validation video, and from "
    "all views of each test video. The last training is counted in no row."
)
MISSING = (
    f"Random networks trained for as long: not measured; {worth.RUN}, with its entry of "
    "params/studies in params.yaml."
)


def sentences(results: Results) -> str:
    """What is compared, and what is missing for it."""
    return SAID if _study(results) else f"{SAID} {MISSING}"


def table(results: Results, found: Expansion, metric: Metric) -> Table:
    """A row for the expansion's networks, the search's, and the best of random ones."""
    head = ("way", "hours", "of", "network", "G a view")
    head += (f"{metric.head}, validation (95 %)", "test (95 %)")
    trained = f"{len(found.made)} trainings"
    rows = [
        ["expansion", digits(found.hours), trained, *_network(name, results, metric)]
        for name in [tried.name for tried in found.targets] or [NONE]
    ]
    if phases := results.phases:
        hours = sum(map(worth.device_hours, phases.values()))
        names = " and ".join(phases)
        first = results_table.found(results)
        network = _network(first.name if first else NONE, results, metric)
        rows.append(["search", digits(hours), names, *network])
    if record := _study(results):
        rows += _random(results, found, record, metric)
    folder = results.folder
    files = f"{folder}/{{expand/made,search,studies,train,evaluate}}/*"
    return Table("Device-hours, beside other ways", head, rows, Source(files, "dvc repro"))


def _study(results: Results) -> StudyRecord | None:
    """The study of random networks, if it has all that is needed."""
    record = next((r for r in results.studies.values() if r.kind == worth.KIND), None)
    return record if record and worth.worth(results, record) else None


def _network(name: str, results: Results, metric: Metric) -> list[str]:
    """Its name, cost and accuracies; dashes where they are not known."""
    network = next((one for one in results.networks if one.name == name), None)
    if network is None:
        return [name, NONE, NONE, NONE]
    tested = network.evaluation
    value = tested.headline.metrics.get(metric.name) if tested else None
    test = NONE if value is None else metric.cell(value)
    if (interval := results_table.interval(network, results)) != results_table.UNKNOWN:
        test += f" ({interval})"
    return [
        network.name,
        f"{tested.gmacs_center:.3g}" if tested else NONE,
        _validated(network, results, metric),
        test,
    ]


def _validated(network: Network, results: Results, metric: Metric) -> str:
    """The last epoch's value on the validation videos, with its interval where it is a share."""
    column = f"val_{metric.name}"
    if network.curve is None or column not in network.curve or not len(network.curve):
        return NONE
    value = network.curve[column][-1]
    videos = results.data.by_split["val"].usable if results.data else 0
    hits = value * videos
    if not videos or abs(hits - round(hits)) > 1e-6:
        return metric.cell(value)
    low, high = wilson(round(hits), videos)
    return f"{metric.cell(value)} ({metric.cell(low)} to {metric.cell(high)})"


def _random(
    results: Results, found: Expansion, record: StudyRecord, metric: Metric
) -> list[list[str]]:
    """The expected best of the random networks that the hours of each way would buy."""
    measured = worth.worth(results, record)
    assert measured
    costs = [row.numbers["gmacs"] or 0.0 for row in record.rows[1:]]
    range_ = f"{min(costs):.3g} to {max(costs):.3g}"
    rows = []
    for way, hours in (("expansion", found.hours), ("search", measured.hours)):
        count = hours / measured.each
        cell = f"less than one training ({measured.each:.3g} h)"
        if count >= 1:
            best, (low, high) = worth.best_of(measured.random, count)
            cell = f"{metric.cell(best)} ({metric.cell(low)} to {metric.cell(high)})"
        what = f"best of {count:.1f}, from {len(measured.random)}"
        rows.append([f"random, {way}'s hours", digits(hours), what, NONE, range_, cell, NONE])
    return rows
