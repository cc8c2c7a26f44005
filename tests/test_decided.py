"""What decided a network's choices: told in the terminal, in the card and in the report."""

import json

import pytest
from support import ARCHITECTURES, results_folder

from autox3d.commands.share import derived_of
from autox3d.core import decided
from autox3d.core.errors import Refused
from autox3d.core.search_records import Decision, Derived, DerivedNetwork
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models import card

GENOTYPE = Genotype.load(ARCHITECTURES / "autox3d_s.yaml")


def choice(by: str, t: float | None = 1.0, candidates: int = 2) -> Decision:
    chances = {str(number): 1 / candidates for number in range(candidates)}
    return Decision(group=1, column="kernel", taken="0", probabilities=chances, by=by, t=t)


def derived(
    *choices: Decision,
    gmacs: float = 1.94,
    control: int | None = 0,
    threshold: float | None = 2.75,
) -> Derived:
    found = DerivedNetwork(
        gmacs=gmacs,
        cost=gmacs,
        probability=0.1,
        supernet={},
        groups=GENOTYPE.choices,
        choices=choices,
    )
    return Derived(
        space="s",
        networks="1e+06",
        unit="G multiply-adds",
        target=2.0,
        window=(0.9, 1.0),
        mode=None,
        found=found,
        runners_up=(),
        threshold=threshold,
        control_decided=control,
    )


def test_the_line_counts_open_choices_alone():
    """A column with one candidate was never a choice, whatever it is called."""
    rows = [choice("clips"), choice("clips"), choice("budget"), choice("undecided")]
    line = decided.line(derived(*rows, choice("undecided", candidates=1)))

    assert line == "clips decided 2 of 4, budget 1; 3 % under; control 0"


def test_a_record_of_before_says_its_cost_alone():
    """No state, no control: nothing is made up."""
    assert decided.line(derived(choice("", None), control=None, threshold=None)) == "3 % under"


@pytest.mark.parametrize(
    ("cost", "text"),
    [(1.0, "0.0 % under"), (1.004, "0.4 % over"), (2.57, "157 % over"), (0.9, "10 % under")],
)
def test_a_cost_is_told_by_its_side_of_the_target(cost, text):
    """Over is said, also where it is little."""
    assert decided.beside_target(cost, 1.0) == text


def test_the_record_keeps_state_and_t(tmp_path):
    """derive.json, written and read."""
    record = derived(choice("clips", 5.25), choice("undecided", 0.5))
    record.write(tmp_path / "derive.json")
    assert Derived.read(tmp_path / "derive.json") == record


def test_the_card_tells_the_evidence_and_what_a_probability_is_not():
    """The same line as the terminal's, then a row for each open choice."""
    record = derived(choice("clips", 5.25), choice("undecided", None))
    page = card._search(card.searched(record)["search"])

    assert "Clips decided 1 of 2, budget 0; 3 % under; control 0. " in page
    assert "A probability is not a confidence" in page
    assert "Clips decide from t 2.75 on." in page
    assert "| 1 | kernel | 0 | clips | 5.2 |\n| 1 | kernel | 0 | undecided | - |" in page
    assert card._search({}) == ""


def test_a_card_is_not_given_the_search_of_another_network(tmp_path):
    """Found beside, the record of another is left out; asked for, it is refused."""
    made = tmp_path / "train/s_made.json"
    path = tmp_path / "derive/derive.json"
    path.parent.mkdir()
    other = ("t1_s3 1.5 8 none",)
    assert derived_of(GENOTYPE.choices, None, made) is None  # nothing there
    record = derived(choice("clips"))
    record.write(path)

    assert derived_of(GENOTYPE.choices, None, made) == record
    assert derived_of(GENOTYPE.choices, None, None) is None
    assert derived_of(other, None, made) is None
    with pytest.raises(Refused, match=r"json: is of another network\. Leave --derived out\.$"):
        derived_of(other, path, None)


def test_choices_of_a_genotype_are_those_of_derive_json(tmp_path):
    """Kernel, expansion, channels and attention of each group, as the stage writes them."""
    results_folder.make(tmp_path)
    groups = json.loads((tmp_path / "results/derive/derive.json").read_text())["found"]["groups"]
    same = Genotype.load(tmp_path / "results/derive/genotype.yaml")

    assert same.choices[0] == "t3_s3 2.25 16 none"
    assert [len(text.split()) for text in groups] == [4] * len(same.choices)
