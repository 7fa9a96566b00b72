from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model import vocabulary
from worker.model.vocabulary import (
    ALIASES,
    ANSWER_SIZE,
    END,
    FIRST_ALIAS,
    NOUNS,
    PROMPT_BYTES_MAX,
    TOKENS_MAX,
    UNKNOWN_PER_KNOWN_MAX,
    VOCABULARY_SIZE,
    PromptEmpty,
    PromptError,
    PromptForeign,
    PromptTooLong,
    TooManyAliases,
    canonical,
    encode_answer,
    is_known,
    plural,
    read,
    write,
)


def test_unknown_words_become_aliases_in_order_and_keep_their_spelling() -> None:
    reading = read("Fidel tells Jerry: fidel lies.")
    aliases = [
        token - FIRST_ALIAS for token in reading.tokens if FIRST_ALIAS <= token < ANSWER_SIZE
    ]
    assert aliases == [0, 1, 0]
    assert reading.aliases == ("Fidel", "Jerry")


def test_prompts_that_differ_in_names_only_are_read_alike() -> None:
    assert read("Abel says Bela lies.").tokens == read("Xoltan says Ümit lies.").tokens


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("two pears", "2 pear"),
        ("YES", "yes"),
        ("Is Ann\u2019s", "Is Ann's"),
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
    assert len(read("(A) is").tokens) == len(read("(r) is").tokens) == 2
    assert len(read("(z) is").tokens) == len(read("( A ) is").tokens) == 4


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
    words = [f"{chr(97 + i // 26)}{chr(97 + i % 26)}qx" for i in range(ALIASES + 1)]
    known = " is not in the list"
    assert len(read(" ".join(words[:-1]) + known).aliases) == ALIASES
    with pytest.raises(TooManyAliases):
        read(" ".join(words) + known)


@given(st.text())
def test_any_text_is_read_or_refused_with_a_reason(text: str) -> None:
    try:
        reading = read(text)
    except PromptError:
        return
    assert all(0 <= token < VOCABULARY_SIZE for token in reading.tokens)
    used = {token for token in reading.tokens if FIRST_ALIAS <= token < ANSWER_SIZE}
    assert used == {FIRST_ALIAS + alias for alias in range(len(reading.aliases))}


@pytest.mark.parametrize(
    "text",
    [
        "今日はどこへ行きますか",
        "Что делает Иван?",
        "مرحبا بالعالم",
        "Was ist die Hauptstadt von Frankreich?",
        "¿Cuántos días tiene una semana?",
        "🤖🤖",
        "?!",
        "is in " + "abc " * (2 * UNKNOWN_PER_KNOWN_MAX + 1),
    ],
)
def test_another_language_is_refused(text: str) -> None:
    with pytest.raises(PromptForeign, match="English"):
        read(text)


@pytest.mark.parametrize("text", ["True", "2 + 2", "Anna lies.", "is in " + "abc " * 40])
def test_few_words_are_no_other_language(text: str) -> None:
    assert read(text).tokens


def test_a_lone_surrogate_is_read() -> None:
    assert read("a \ud800").tokens


@pytest.mark.parametrize(
    "text",
    ["Yes", "False", "(C)", "7", "-5", "123", "-4096", "October 3", "Bela", "3 12 40", "red Bela"],
)
def test_answers_are_written_as_they_were_encoded(text: str) -> None:
    aliases = ("Bela", "red")
    assert write((*encode_answer(text, aliases), END, 5), aliases) == text


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
    assert max(answers) < FIRST_ALIAS
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
