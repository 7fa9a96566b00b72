"""A book made of an image is the book: the same state now, the same rows from then on."""

from __future__ import annotations

import random

import pytest

from matching import Book
from matching.columns import pack
from matching.types import BookState
from tests.matching.commands import Commands
from tests.matching.market import BID, make
from tests.matching.twins import give


@pytest.mark.parametrize("seed", range(12))
def test_a_book_made_of_an_image_goes_on_alike(seed: int) -> None:
    commands, chance = Commands(seed), random.Random(seed)
    book = Book(commands.tick, commands.lot)
    twin: Book | None = None
    for _ in range(1_500):
        if chance.random() < 0.02:
            image = book.image()
            twin = Book.from_image(image, commands.tick, commands.lot)
            twin.check()
            assert twin.image() == image
            assert twin.state() == book.state()
            assert twin.sequence == book.sequence
        command = commands.next(book)
        events = give(book, command)
        if twin is not None:
            assert give(twin, command) == events
            assert twin.last_rows() == book.last_rows()
    assert twin is not None
    assert twin.image() == book.image()


def test_an_image_has_the_sequence_of_the_market_data() -> None:
    book = Book()
    book.set_state(BookState.HALTED)
    image = book.image()
    assert Book.from_image(image).sequence == book.sequence == 1
    assert Book.from_image(image).state_now == BookState.HALTED
    assert image != Book().image()


def test_what_is_no_image_is_refused() -> None:
    sequence, state, *rest = Book().image()
    with pytest.raises(ValueError, match="9 is not a valid BookState"):
        Book.from_image((sequence, 9, *rest))
    with pytest.raises(ValueError, match="unpack"):
        Book.from_image((sequence, state))


def test_an_image_that_does_not_hold_together_is_refused() -> None:
    book = Book()
    book.place(make(1, BID, 30, 105, minimum=10))
    *head, orders, minimums, stops = book.image()
    assert minimums == pack([1])
    with pytest.raises(LookupError):
        Book.from_image((*head, orders, pack([2]), stops))
    with pytest.raises(TypeError):
        Book.from_image((*head, None, minimums, stops))
