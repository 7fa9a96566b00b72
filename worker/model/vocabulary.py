"""Text in, token ids out, and back: the closed vocabulary of the adaptive model.

A prompt becomes one token for each word, number, option letter and sign. Words that the
vocabulary does not know (names, most things) become *aliases*: <1> stands for the first such word
of a prompt, <2> for the next one, and the same word has the same alias wherever it comes again. So
any text can be read, the model learns to bind words by what is said about them, and an answer that
names an alias is written with the spelling of the prompt.

Ids below ANSWER_SIZE may be written as an answer; the others are read only. Pure Python, without
NumPy.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Final

PROMPT_BYTES_MAX: Final = 65_536
TOKENS_MAX: Final = 224
ALIASES: Final = 64
ANSWER_SIZE: Final = 256
VOCABULARY_SIZE: Final = 768
UNKNOWN_PER_KNOWN_MAX: Final = 20
"""Above this many unknown words for each known one, a prompt is taken for another language."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


DAYS: Final = _words("monday tuesday wednesday thursday friday saturday sunday")
MONTHS: Final = _words(
    "january february march april may june july august september october november december"
)

NOUNS: Final[dict[str, tuple[str, ...]]] = {
    "fruits": _words(
        "apple apricot avocado banana blackberry blueberry cherry coconut cranberry currant fig "
        "gooseberry grape grapefruit guava kiwi lemon lime lychee mandarin mango melon nectarine "
        "orange papaya peach pear persimmon pineapple plum pomegranate quince raspberry "
        "strawberry tangerine watermelon"
    ),
    "vegetables": _words(
        "artichoke asparagus aubergine bean beet beetroot broccoli cabbage carrot cauliflower "
        "celery chard corn cucumber eggplant fennel garlic kale leek lettuce onion parsnip pea "
        "pepper potato pumpkin radish rhubarb shallot spinach squash tomato turnip yam zucchini"
    ),
    "animals": _words(
        "badger bear bee bird bull camel cat chicken cow crab crow deer dog donkey duck eagle "
        "elephant fish fox frog giraffe goat goose hamster hare hedgehog hen horse kangaroo lamb "
        "lion lizard llama mole monkey mouse otter owl ox panda parrot pig pony rabbit rat raven "
        "seal shark sheep snail snake spider squirrel swan tiger toad tortoise turkey turtle "
        "whale wolf worm zebra"
    ),
    "instruments": _words(
        "accordion bagpipe banjo bassoon bell bugle cello clarinet cornet cymbal drum fiddle flute "
        "gong guitar harmonica harp horn keyboard lute mandolin oboe organ piano piccolo recorder "
        "saxophone tambourine triangle trombone trumpet tuba ukulele viola violin xylophone"
    ),
    "furniture": _words(
        "armchair bathtub bed bench blender bookcase bookshelf bowl cabinet car chair couch "
        "cupboard cushion desk dishwasher dresser fan freezer fridge heater kettle lamp mattress "
        "microwave mirror oven pillow radio rug shelf sink sofa stool stove table television "
        "toaster vase wardrobe"
    ),
}
"""Nouns that the vocabulary knows by kind: counting needs to know what is a fruit."""

IRREGULAR_PLURALS: Final = {
    "deer": "deer",
    "fish": "fish",
    "goose": "geese",
    "mouse": "mice",
    "ox": "oxen",
    "sheep": "sheep",
    "shelf": "shelves",
    "bookshelf": "bookshelves",
    "wolf": "wolves",
}

_NUMBER_WORDS: Final = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)

_TEXT_WORDS: Final = _words(
    # small words
    "a/an the this/these that/those it/its they/them/their he/him/his/she/her i/me my you/your "
    "we/our/us who/whom whose what which where when how many/much there/here and or not but if "
    "then so than as of in on at to from by with for out after/afterwards off "
    "each/every all another/other/others just/only now once twice/thrice times/time more "
    "is/are/was/were/be/been/being/am has/have/had/having do/does/did/done "
    "can/could will/would/shall/should must "
    # sequence
    "first second third next finally/lastly last end/ends/ended/ending "
    "start/starts/started/starting begin/begins/beginning/began throughout/during/while "
    "following/follow/follows "
    # questions
    "question/questions answer/answers option/options compute/calculate/evaluate/work "
    "tell/tells/telling say/says/said/saying/claim/claims write give/gives/gave/given "
    "name/names/named list/lists sort/sorted/order/ordered/arrange put/puts "
    "alphabetically/alphabetical alphabet ascending/increasing descending/decreasing "
    "smallest/lowest largest/highest/biggest number/numbers word/words value/values "
    "result/results equal/equals expression/statement point/points/pointing "
    # truth
    "truth/honest/truthful/truthfully lie/lies/lying/liar always never according "
    "knight/knights knave/knaves right "
    # possession and exchange
    "swap/swaps/swapped/switch/switches/switched/trade/trades/traded/trading/exchange/exchanges "
    "change/changes get/gets/got/receive/receives hold/holds/holding own/owns "
    "take/takes/took/taking keep/keeps/kept place/places/position/positions together "
    "pair/pairs play/plays/playing game/games wear/wears/wearing carry/carries/carrying/carried "
    "drive/drives/driving occasionally/often progresses/proceeds "
    # movement
    "instruction/instructions return/returns step/steps "
    "walk/walks/walking/walked/go/goes/going/went/move/moves/moving/moved turn/turns/turned "
    "around left forward/forwards/ahead backward/backwards back face/faces/facing north south "
    "east west robot line/lines distance/far "
    # counting and arithmetic
    "add/adds/added/plus subtract/subtracts/minus multiply/multiplied double/doubles "
    "total/sum/altogether count/counts buy/buys/bought find/finds/found lose/loses/lost "
    "sell/sells/sold see/sees/saw fruit/fruits vegetable/vegetables animal/animals "
    "object/objects/thing/things/item/items musical instrument/instruments furniture "
    "piece/pieces head/heads stalk/stalks clove/cloves bunch/bunches "
    # keys and pointers
    "key/keys code/codes belong/belongs stand/stands/live/lives room/rooms box/boxes "
    "arrow/arrows chain/chains lead/leads hop/hops/hopping boss send/sends/sent best "
    "friend/friends arrive/arrives/reach/reaches "
    # time and units
    "today day/days week/weeks month/months year/years hour/hours o'clock clock date/weekday "
    "dozen/dozens "
)
"""Words that are only read. Those joined by / share one id, for inflection carries little here."""


def _plurals(noun: str) -> tuple[str, ...]:
    if noun in IRREGULAR_PLURALS:
        return (IRREGULAR_PLURALS[noun],)
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return (noun[:-1] + "ies",)
    if noun.endswith(("s", "x", "ch", "sh")):
        return (noun + "es",)
    return (noun + "es", noun + "s") if noun.endswith("o") else (noun + "s",)


def plural(noun: str) -> str:
    """Return the plural of a noun of NOUNS (potatoes, but pianos)."""
    forms = _plurals(noun)
    return forms[0] if noun in {"potato", "tomato", "mango"} else forms[-1]


PAD: Final = 0
ASK: Final = 1
END: Final = 2
FIRST_ALIAS: Final = ANSWER_SIZE - ALIASES
_ANSWER_WORDS: Final = [
    *("<pad>", "<ask>", "<end>"),
    *("yes", "no", "true", "false", "valid", "invalid"),
    *(f"({letter})" for letter in "abcdefghijklmnopqr"),
    *(str(number) for number in range(100)),
    *(f"##{digit}" for digit in range(10)),
    *"-),/:",
    *DAYS,
    *MONTHS,
]
"""What an answer may hold. Spare ids follow, then the aliases: append only, no id ever moves."""

_SIGNS: Final = ("<sign>", "'s", *"\n.?;!([+*=\"'")


def _text_part() -> dict[str, int]:
    """Ids of what is only read: signs, words, then nouns, whose plurals share their id."""
    groups: list[tuple[str, ...]] = [(sign,) for sign in _SIGNS]
    groups += [tuple(group.split("/")) for group in _TEXT_WORDS]
    groups += [(noun, *_plurals(noun)) for kind in NOUNS.values() for noun in kind]
    assert ANSWER_SIZE + len(groups) <= VOCABULARY_SIZE
    ids = {text: ANSWER_SIZE + place for place, group in enumerate(groups) for text in group}
    assert len(ids) == sum(len(set(group)) for group in groups), "a word is listed twice"
    assert not ids.keys() & _ANSWER_IDS.keys()
    # A number word is read as the number.
    return ids | {word: _ANSWER_IDS[str(number)] for number, word in enumerate(_NUMBER_WORDS)}


_ANSWER_IDS: Final = {text: number for number, text in enumerate(_ANSWER_WORDS)}
_IDS: Final = {**_ANSWER_IDS, **_text_part()}
assert len(_ANSWER_WORDS) <= FIRST_ALIAS

_SIGN: Final = _IDS["<sign>"]
_TEXTS: Final = {token: text for text, token in reversed(_IDS.items())} | {
    FIRST_ALIAS + alias: f"<{alias + 1}>" for alias in range(ALIASES)
}
"""The first text of each id; an alias is <1> or above."""
_WORDS: Final = frozenset(token for text, token in _IDS.items() if text.isalnum())
"""Ids of known words and numbers: what shows that a prompt is in the language of the model."""
_ALIAS_IDS: Final = frozenset(range(FIRST_ALIAS, ANSWER_SIZE))
SENTENCE_ENDS: Final = frozenset(_IDS[text] for text in (".", "?", "!", ";", "\n"))
CLAUSE_ENDS: Final = SENTENCE_ENDS | {_IDS[","], _IDS[":"]}

# A word (o'clock is one); an option letter; a number; a possessive; a line end; any other sign.
_TOKEN: Final = re.compile(r"[oO]'[cC]lock|[^\W\d_]+|\([A-Ra-r]\)|[0-9]+|['\u2019][sS]\b|\n|\S")
_TYPOGRAPHY: Final = {
    "\u2019s": "'s",
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2212": "-",
}


class PromptError(ValueError):
    """The prompt cannot be read: nothing was computed."""


class PromptEmpty(PromptError):
    """There is nothing to read in the prompt."""


class PromptTooLong(PromptError):
    """The prompt has more than PROMPT_BYTES_MAX bytes or more than TOKENS_MAX tokens."""


class TooManyAliases(PromptError):
    """The prompt has more than ALIASES different words that the vocabulary does not know."""


class PromptForeign(PromptError):
    """Hardly any word of the prompt is known: it is in another language, or in none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """A prompt as the model sees it: token ids, and how the word of each alias is spelled."""

    tokens: tuple[int, ...]
    aliases: tuple[str, ...]


def is_known(word: str) -> bool:
    """Whether a word has an id of its own; any other becomes an alias."""
    return word.lower() in _IDS


def pieces(text: str) -> list[str]:
    """Cut a text into words, numbers, option letters and signs, spelled as they stand."""
    return _TOKEN.findall(text)


def number_pieces(digits: str) -> list[str]:
    """Return the tokens of a number: its first two digits, then one continuation per digit.

    A leading zero of a two-digit head is dropped (05 is read as 5).
    """
    return [str(int(digits[:2])), *(f"##{digit}" for digit in digits[2:])]


def read(text: str) -> Reading:
    """Turn a prompt into tokens.

    Raises:
        PromptEmpty: the text holds no token.
        PromptTooLong: it has more bytes or tokens than the model takes.
        TooManyAliases: it has more than ALIASES different unknown words.
        PromptForeign: it has no known word; or only one, and more than two unknown ones; or more
            than UNKNOWN_PER_KNOWN_MAX unknown ones for each known one. Numbers count as known.
    """
    if len(text) > PROMPT_BYTES_MAX or len(text.encode("utf-8", "replace")) > PROMPT_BYTES_MAX:
        raise PromptTooLong(f"the prompt has more than {PROMPT_BYTES_MAX} bytes")
    tokens: list[int] = []
    aliases: dict[str, int] = {}
    spellings: list[str] = []
    for piece in pieces(text):
        lower = piece.lower()
        known = _IDS.get(lower)
        if known is not None:
            tokens.append(known)
        elif piece.isalpha():
            alias = aliases.get(lower)
            if alias is None:
                alias = aliases[lower] = len(spellings)
                spellings.append(piece)
            tokens.append(FIRST_ALIAS + alias)
        elif piece.isascii() and piece.isdigit():
            tokens.extend(_IDS[part] for part in number_pieces(piece))
        else:
            tokens.append(_IDS.get(_TYPOGRAPHY.get(lower, ""), _SIGN))
    if not tokens:
        raise PromptEmpty("the prompt holds nothing to read")
    if len(tokens) > TOKENS_MAX:
        raise PromptTooLong(f"the prompt has {len(tokens)} tokens, more than {TOKENS_MAX}")
    if len(spellings) > ALIASES:
        raise TooManyAliases(f"the prompt has {len(spellings)} unknown words, more than {ALIASES}")
    _check_language(tokens)
    return Reading(tuple(tokens), tuple(spellings))


def _check_language(tokens: list[int]) -> None:
    unknown = sum(map(_ALIAS_IDS.__contains__, tokens))
    known = sum(map(_WORDS.__contains__, tokens))
    foreign = unknown > 2 if known == 1 else unknown > UNKNOWN_PER_KNOWN_MAX * known
    if foreign or not known:
        raise PromptForeign(
            f"{known} of the {known + unknown} words of the prompt are known: "
            "the model reads English questions of a few kinds"
        )


def canonical(question: str) -> str:
    """Spell what is read of a question: lower case, one form of each word, names numbered <1>, <2>.

    Two questions with the same canonical form are the same to the model.

    Raises:
        PromptError: the question cannot be read.
    """
    return canonical_form(read(question))


def canonical_form(reading: Reading) -> str:
    """Return the canonical form of a question that was read."""
    return " ".join([_TEXTS[token] for token in reading.tokens])


def encode_answer(text: str, aliases: tuple[str, ...]) -> tuple[int, ...]:
    """Return the answer tokens of a text (without the end token), given the aliases of its prompt.

    Raises:
        ValueError: the text has a token that cannot be an answer.
    """
    lower = text.lower()
    if lower in _ANSWER_IDS:
        return (_ANSWER_IDS[lower],)
    places = {word.lower(): FIRST_ALIAS + alias for alias, word in enumerate(aliases)}
    tokens: list[int] = []
    for piece in pieces(lower):
        parts = number_pieces(piece) if piece.isdigit() else [piece]
        for part in parts:
            token = _ANSWER_IDS.get(part, places.get(part))
            if token is None:
                raise ValueError(f"{part!r} cannot be part of an answer")
            tokens.append(token)
    return tuple(tokens)


def write(tokens: tuple[int, ...], aliases: tuple[str, ...]) -> str:
    """Spell answer tokens up to the end token: the inverse of `encode_answer`.

    An alias that the prompt does not have, and an id that is not an answer, is written as <?>.
    """
    text = ""
    for token in tokens:
        if token == END:
            break
        glued = text.endswith(("-", "/")) or not text
        if FIRST_ALIAS <= token < ANSWER_SIZE:
            alias = token - FIRST_ALIAS
            word = aliases[alias] if alias < len(aliases) else "<?>"
        else:
            word = _ANSWER_WORDS[token] if 0 <= token < len(_ANSWER_WORDS) else "<?>"
            word = _spelling(word)
        if word.startswith("##"):
            text += word[2:]
        else:
            text += word if glued or word in {",", "/", ":"} else f" {word}"
    return text


def _spelling(word: str) -> str:
    """How an answer word is written: (A), Yes, Monday."""
    if word.startswith("(") and word.endswith(")"):
        return word.upper()
    return word.capitalize() if word.isalpha() else word
