from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model import vocabulary
from worker.model.vocabulary import (
    ANSWER_SIZE,
    END,
    FIRST_SLOT,
    NOUNS,
    PROMPT_BYTES_MAX,
    SLOTS,
    TOKENS_MAX,
    VOCABULARY_SIZE,
    PromptEmpty,
    PromptError,
    PromptTooLong,
    TooManySlots,
    canonical,
    encode_answer,
    is_known,
    plural,
    read,
    spelling,
    write,
)


def test_unknown_words_become_slots_in_order_and_keep_their_spelling() -> None:
    reading = read("Fidel tells Jerry: fidel lies.")
    slots = [token - FIRST_SLOT for token in reading.tokens if FIRST_SLOT <= token < ANSWER_SIZE]
    assert slots == [0, 1, 0]
    assert reading.slots == ("Fidel", "Jerry")


def test_prompts_that_differ_in_names_only_are_read_alike() -> None:
    assert read("Abel says Bela lies.").tokens == read("Xoltan says Ümit lies.").tokens


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("two pears", "2 pear"),
        ("YES", "yes"),
        ("Ann\u2019s", "Ann's"),
        ("\u201cYes\u201d", '"Yes"'),
        ("3 \u2212 2", "3 - 2"),
        ("True\u00a0and False", "True and False"),
    ],
)
def test_writing_habits_do_not_matter(text: str, same: str) -> None:
    assert read(text).tokens == read(same).tokens


def test_numbers_are_a_head_of_two_digits_and_one_token_for_each_more() -> None:
    assert [len(read(text).tokens) for text in ("7", "42", "123", "-5", "1937")] == [1, 1, 2, 2, 3]


def test_an_option_letter_is_one_token() -> None:
    assert len(read("(A)").tokens) == len(read("(r)").tokens) == 1
    assert len(read("(z)").tokens) == len(read("( A )").tokens) == 3


@pytest.mark.parametrize("text", ["", "  \t ", "\u200b\x00 "[:0]])
def test_an_empty_prompt_is_refused(text: str) -> None:
    with pytest.raises(PromptEmpty):
        read(text)


def test_bounds_of_a_prompt() -> None:
    assert len(read("1 " * TOKENS_MAX).tokens) == TOKENS_MAX
    with pytest.raises(PromptTooLong, match=str(TOKENS_MAX)):
        read("1 " * (TOKENS_MAX + 1))
    with pytest.raises(PromptTooLong, match="bytes"):
        read("1" + " " * PROMPT_BYTES_MAX)
    with pytest.raises(PromptTooLong, match="bytes"):
        read("é" * (PROMPT_BYTES_MAX // 2 + 1))
    words = [f"{chr(97 + i // 26)}{chr(97 + i % 26)}qx" for i in range(SLOTS + 1)]
    assert len(read(" ".join(words[:-1])).slots) == SLOTS
    with pytest.raises(TooManySlots):
        read(" ".join(words))


@given(st.text())
def test_any_text_is_read_or_refused_with_a_reason(text: str) -> None:
    try:
        reading = read(text)
    except PromptError:
        return
    assert all(0 <= token < VOCABULARY_SIZE for token in reading.tokens)
    used = {token for token in reading.tokens if FIRST_SLOT <= token < ANSWER_SIZE}
    assert used == {FIRST_SLOT + slot for slot in range(len(reading.slots))}


@pytest.mark.parametrize(
    "text", ["今日はどこへ行きますか", "Что делает Иван?", "مرحبا بالعالم", "🤖🤖"]
)
def test_other_scripts_are_read_as_unknown_words_and_signs(text: str) -> None:
    assert read(text).tokens


def test_a_lone_surrogate_is_read() -> None:
    assert read("a \ud800").tokens


@pytest.mark.parametrize(
    "text",
    ["Yes", "False", "(C)", "7", "-5", "123", "-4096", "October 3", "Bela", "3 12 40", "red Bela"],
)
def test_answers_are_written_as_they_were_encoded(text: str) -> None:
    slots = ("Bela", "red")
    assert write((*encode_answer(text, slots), END, 5), slots) == text


def test_what_cannot_be_an_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="apple"):
        encode_answer("apple", ("Bela",))


@given(st.lists(st.integers(-5, VOCABULARY_SIZE + 5)))
def test_any_ids_can_be_written(tokens: list[int]) -> None:
    assert isinstance(write(tuple(tokens), ("Bela",)), str)


@given(st.integers(-(10**9), 10**9))
def test_numbers_come_back(number: int) -> None:
    assert write(encode_answer(str(number), ()), ()) == str(number)


def test_canonical_form_has_lower_case_and_numbered_names() -> None:
    text = "Question: Fidel tells the truth. Jerry says FIDEL lies."
    assert canonical(text) == "question : <1> tell the truth . <2> say <1> lie ."
    assert canonical(text) == canonical(text.replace("Fidel", "Otto").replace("FIDEL", "Otto"))
    assert canonical(text) != canonical(text.replace("FIDEL", "Jerry"))


@given(st.text(alphabet="Aab1 .(-'"))
def test_same_tokens_if_and_only_if_same_canonical_form(text: str) -> None:
    for other in (text.lower(), text.upper(), text[::-1]):
        try:
            one, two = read(text), read(other)
        except PromptError:
            continue
        assert (one.tokens == two.tokens) == (canonical(text) == canonical(other))


def test_ids_are_apart_and_within_their_sizes() -> None:
    ids = vocabulary._IDS
    answers = {token for token in ids.values() if token < ANSWER_SIZE}
    assert max(answers) < FIRST_SLOT
    assert max(ids.values()) < VOCABULARY_SIZE
    assert sorted(set(ids.values()) - answers) == list(range(ANSWER_SIZE, max(ids.values()) + 1))


def test_nouns_are_known_in_both_numbers() -> None:
    for nouns in NOUNS.values():
        for noun in nouns:
            assert is_known(noun)
            assert is_known(plural(noun))
            assert read(noun).tokens == read(plural(noun)).tokens
    kinds = [noun for nouns in NOUNS.values() for noun in nouns]
    assert len(set(kinds)) == len(kinds)


def test_spelling_tells_the_first_letters() -> None:
    assert spelling("Abzebra") == (1, 2, 26, 5, 2, 18)
    assert spelling("éa") == (27, 1, 0, 0, 0, 0)
