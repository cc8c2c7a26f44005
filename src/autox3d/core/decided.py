"""What decided the choices of a derived network, in words: for terminal, card and report.

clips      the clips prefer the candidate taken, beyond what weights of other networks reach
budget     the clips do not tell, but the cost term moved the choice
undecided  neither: the candidate is there because the budget's window leaves it free
"""

from __future__ import annotations

from collections.abc import Sequence

from autox3d.core.search_records import Decision, Derived

CLIPS, BUDGET, UNDECIDED = "clips", "budget", "undecided"
STATES = (CLIPS, BUDGET, UNDECIDED)
NOT_A_CONFIDENCE = (
    "A probability is not a confidence: on labels that say nothing alpha drifts to certainty, too. "
    "The evidence of the clips is the t-value."
)


def open_decisions(choices: Sequence[Decision]) -> list[Decision]:
    """The choices that had more than one candidate."""
    return [choice for choice in choices if len(choice.probabilities) > 1]


def counts(choices: Sequence[Decision]) -> dict[str, int]:
    """How many choices are in each state; empty for a record that does not say."""
    states = [choice.by for choice in open_decisions(choices)]
    return {state: states.count(state) for state in STATES} if any(states) else {}


def line(derived: Derived) -> str:
    """clips decided 16 of 22, budget 3; 3 % under; control 0."""
    states, control = _evidence(derived)
    return "; ".join([*states, beside_target(derived.found.cost, derived.target), *control])


def terminal(derived: Derived, runners_up: int) -> str:
    """How the cost compares with the budget, what the window cost, and who decided; one line.

    Args:
        runners_up: how many were asked for
    """
    cost, mode = derived.found.cost, derived.mode
    parts = [
        f"{beside_target(cost, derived.target)} the budget of {derived.target:g} {derived.unit}"
    ]
    if derived.window is None:
        parts[0] = f"the mode, {parts[0]}"
    elif mode is not None:
        parts.append(f"the window cost {mode.window_nats:.2g} nats against the mode")
        if mode.attention_nats:
            parts[-1] += f", undecided attention {mode.attention_nats:.2g}"
    for known in _evidence(derived):
        parts += known
    if (count := len(derived.runners_up)) < runners_up:
        parts.append(f"{count} of {runners_up} runners-up, as there are no more")
    return f"found: {'; '.join(parts)}"


def _evidence(derived: Derived) -> tuple[list[str], list[str]]:
    """What decided the choices, and how many the control decided; empty where it is not known."""
    states, control = [], []
    if number := counts(derived.found.choices):
        of = sum(number.values())
        states = [f"clips decided {number[CLIPS]} of {of}, budget {number[BUDGET]}"]
    if derived.control_decided is not None:
        control = [f"control {derived.control_decided}"]
    return states, control


def beside_target(cost: float, target: float) -> str:
    """3 % under, 0.4 % over: how far a cost is from its target."""
    share = cost / target - 1
    digits = 0 if abs(share) >= 0.0095 else 1
    side = "over" if share > 0 else "under"
    return f"{100 * abs(share):.{digits}f} % {side}"
