from __future__ import annotations

import random

import pytest

from exchange.metering.adaptive import ANSWER_TOKENS_MAX, Policy, adaptive_flops_worst
from tests.worker.model.weights_of_chance import TINY, random_weights
from worker.model import adversary
from worker.model.adversary import BUDGET_SHARES_MILLI, HANDWRITTEN, Attacker, attack
from worker.model.forms import NumpyForm
from worker.model.vocabulary import read


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> NumpyForm:
    return NumpyForm(random_weights(tmp_path_factory.mktemp("weights")))


@pytest.fixture
def small_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adversary, "CHILDREN", 12)
    monkeypatch.setattr(adversary, "STRANGERS", 2)


def attacker(model: NumpyForm, seed: int = 1) -> Attacker:
    return Attacker(model, Policy(steps_max=3), random.Random(seed))


def test_prompts_written_by_hand_can_be_read() -> None:
    assert all(read(prompt).tokens for prompt in HANDWRITTEN)
    assert len(set(HANDWRITTEN)) == len(HANDWRITTEN)


def test_no_prompt_computes_more_than_its_cap(model: NumpyForm) -> None:
    tried = attacker(model)
    prompts = [*HANDWRITTEN, *(tried.random_prompt() for _ in range(40))]
    for budget in (1, 2_000, 20_000, 100_000, 10**9):
        for spent in tried.spend(prompts, budget):
            limit = adaptive_flops_worst(TINY, spent.tokens + 1, ANSWER_TOKENS_MAX)
            assert spent.cap_flops == min(budget, limit)
            assert spent.flops <= spent.cap_flops
    assert tried.cap_violations == 0


def test_a_violation_would_be_counted(model: NumpyForm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adversary, "adaptive_flops", lambda *_: 10**12)
    tried = attacker(model)
    tried.spend(HANDWRITTEN[:3])
    assert tried.cap_violations == 3


def test_prompts_that_cannot_be_read_cost_nothing(model: NumpyForm) -> None:
    assert attacker(model).spend(["", "Wo ist denn bloss alles hin?", "1 " * 10_000]) == []


def test_the_search_finds_dearer_prompts_than_it_began_with(
    model: NumpyForm, small_rounds: None
) -> None:
    tried = attacker(model)
    start = [tried.random_prompt() for _ in range(10)]
    found = tried.search(start, 6)
    dearest_of = {s.prompt: s.flops for s in found}
    assert max(dearest_of.values()) > max(dearest_of[prompt] for prompt in start)


def test_a_report_is_the_same_for_a_seed(model: NumpyForm, small_rounds: None) -> None:
    def report(seed: int) -> adversary.Report:
        return attack(
            model, seed, policy=Policy(steps_max=2), honest=10, random_prompts=5, rounds=1
        )

    first = report(1)
    assert first == report(1)
    assert first != report(2)
    assert [a.name for a in first.attacks] == ["handwritten", "random", "search"]
    for found in first.attacks:
        assert found.cap_violations == 0
        assert found.overhead_milli == found.worst.flops * 1_000 // first.honest_mean_flops
    assert min(BUDGET_SHARES_MILLI) > 0


def test_children_differ_from_their_parents_in_little(model: NumpyForm) -> None:
    tried = attacker(model)
    parent = "one two three four five six seven eight"
    children = [tried.changed(parent, "a b c d") for _ in range(60)]
    assert sum(child != parent for child in children) > 40
    assert all(child.split(" ") for child in children)
