"""Symbolic solvers: they read the raw text of a question and share no code with the generators.

`solve(family, question)` returns every state on the way; the last one is the answer.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Sequence

from worker.model.vocabulary import NOUNS, plural

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
MONTH_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def solve(family: str, question: str) -> list[str]:
    return SOLVERS[family](question)


# ---- boolean expressions and arithmetic: Python's own grammar


def prefixes(expression: str, operand: str) -> list[str]:
    """The expression read up to each operand, with its open brackets closed."""
    read = []
    for match in re.finditer(operand, expression):
        begun = expression[: match.end()]
        read.append(begun + ")" * (begun.count("(") - begun.count(")")))
    return read


def value(expression: str) -> object:
    tree = ast.parse(expression.strip(), mode="eval")
    allowed = (
        ast.Expression | ast.BoolOp | ast.UnaryOp | ast.BinOp | ast.Constant,
        ast.operator | ast.unaryop | ast.boolop | ast.expr_context,
    )
    assert all(isinstance(node, allowed) for node in ast.walk(tree)), expression
    return eval(compile(tree, "expression", "eval"), {})


def boolean(question: str) -> list[str]:
    runs = re.findall(r"(?:(?:True|False|and|or|not|\(|\))(?:\s+|\b|(?<=\))))+", question)
    expression = max((run for run in runs if re.search("True|False", run)), key=len)
    return [str(value(prefix)) for prefix in prefixes(expression, "True|False")]


def arithmetic(question: str) -> list[str]:
    sentences = re.split(r"(?<=[.?!])\s+", question)
    told = [change(sentence) for sentence in sentences]
    if any(told):
        number, values = 0, []
        for kind, amount in filter(None, told):
            number = OPERATIONS[kind](number, amount)
            values.append(number)
        return [str(number) for number in values[1:]]
    expression = max(re.findall(r"[-+*()\d ]+", question), key=len)
    return [str(value(prefix)) for prefix in prefixes(expression, r"\d+")][1:]


OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "start": lambda _, amount: amount,
    "more": operator.add,
    "less": operator.sub,
    "twice": lambda number, _: 2 * number,
}
CHANGES = {
    "start": r"(?:Start with|Begin with|think of the number|has|owns|There are) (\d+)",
    "more": r"(?:[Aa]dd|finds|buys) (\d+)|^(\d+) get in",
    "less": r"(?:Subtract|Take|take away|loses|sells) (\d+)|^(\d+) get out",
    "twice": r"(?:[Dd]ouble it|by (2)\b|doubles what|twice as many)",
}


def change(sentence: str) -> tuple[str, int] | None:
    for kind, pattern in CHANGES.items():
        match = re.search(pattern, sentence)
        if match:
            return kind, int(next(filter(None, match.groups()), 0))
    return None


# ---- webs of lies

HONEST = r"(?:always )?(?:tells the truth|is honest|is a knight|is telling the truth)"
LYING = r"(?:always )?(?:lies|is a liar|is a knave|is lying)"


def lies(question: str) -> list[str]:
    speaker = r"(?:According to (\w+), |(\w+) (?:says|claims|tells us)(?: that)? )?"
    said = rf"{speaker}(\w+) ({HONEST}|{LYING})\."
    asked = re.findall(
        r"(?:Does|Is|say that) (\w+) (?:tells? the truth|honest|a knight)\?", question
    )[-1]
    truthful: dict[str, bool] = {}
    for according, says, subject, claim in re.findall(said, question):
        honest = re.fullmatch(HONEST, claim) is not None
        if according or says:
            truthful[according or says] = truthful[subject] == honest
        else:
            truthful[subject] = honest
    people = list(truthful)
    return ["Yes" if truthful[p] else "No" for p in people[: people.index(asked) + 1]]


# ---- shuffled objects

VERBS = r"(?:has|holds|owns|wears|keeps|drives|carries|stands on)"


def tracking(question: str) -> list[str]:
    if "\nOptions:\n(A)" in question:
        people, things, story, answers = published_plot(question)
    else:
        facts = re.findall(rf"(\w+) {VERBS} the ([\w ]+?)(?: car)?\.", question)
        people, things = [f[0] for f in facts], [f[1] for f in facts]
        story, answers = question, things
    name = rf"({'|'.join(people)})"
    change = "(?:swap|switch|trade|change|exchange)"
    pair = rf"\b{name} (?:and {name} {change}|(?:exchanges|switches) with {name})"
    swaps = [(a, b or c) for a, b, c in re.findall(pair, story)]
    asked = re.findall(rf"\b{name}\b", story)[-1]
    states = []
    for last in range(1, len(swaps) + 1):
        # Who started with what the one asked for has, if only the last swaps had happened?
        source = {person: person for person in people}
        for one, two in swaps[-last:]:
            source[one], source[two] = source[two], source[one]
        states.append(source[asked])
    if "Who carried it first" not in question:
        states.append(answers[people.index(states[-1])])
    return states


def published_plot(question: str) -> tuple[list[str], list[str], str, list[str]]:
    """People, their things, the story, and the option letter of each person's thing."""
    story, options = question.split("\nOptions:\n")
    letters = {thing: letter for letter, thing in re.findall(r"(\([A-G]\)) (.+)", options)}
    people = re.split(r", and |, | and ", re.split(" (?:are|is) ", story, maxsplit=1)[0])
    facts = story.split(": ", 1)[1].split(".\n", 1)[0]
    parts = re.split(rf"(?:, and |, )(?={'|'.join(f'{p} ' for p in people)})", facts)
    ends = [[thing for thing in letters if part.endswith(f" {thing}")] for part in parts]
    things = [max(end, key=len) for end in ends]
    assert [part.split()[0] for part in parts] == people
    return people, things, story.split(".\n", 1)[1], [letters[thing] for thing in things]


# ---- navigation

WAYS = {
    "forward": 0,
    "north": 0,
    "right": 1,
    "east": 1,
    "backward": 2,
    "south": 2,
    "left": 3,
    "west": 3,
}
TURNS = {"right": 1, "around": 2, "back": 2, "left": 3}


def navigation(question: str) -> list[str]:
    place, facing = 0j, 1j
    places = []
    instruction = r"(?:(?:Take|Go|moves|walks) (\d+) steps?(?: (\w+))?|(?:Turn|turns) (\w+))\."
    for steps, way, turn in re.findall(instruction, question):
        if turn:
            facing *= (-1j) ** TURNS[turn]
        elif way:
            place += int(steps) * 1j * (-1j) ** WAYS[way]
        else:
            place += int(steps) * facing
        places.append((round(place.real), round(place.imag)))
    if re.search("At which point|Where does", question):
        return [str(x) for x, _ in places]
    distances = [str(abs(x) + abs(y)) for x, y in places]
    if re.search("distance|How far", question):
        return distances
    return [*distances[:-1], "Yes" if places[-1] == (0, 0) else "No"]


# ---- object counting

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
KINDS = {"musical instruments": "instruments", "pieces of furniture": "furniture"}
KIND_OF = {form: kind for kind, nouns in NOUNS.items() for n in nouns for form in (n, plural(n))}


def counting(question: str) -> list[str]:
    asked = re.search(
        r"(?:How many|Count the|Count all) (musical instruments|pieces of furniture|\w+)", question
    )
    assert asked
    kind = KINDS.get(asked[1], asked[1])
    entries = re.findall(
        rf"\b(an?|{'|'.join(NUMBERS)}) (?:(?:heads?|stalks?|cloves?|bunch|bunches|pieces?) of )?"
        r"(\w+)",
        re.sub("You can|How many.*", "", question),
    )
    if asked[0].startswith("Count"):
        listed = re.search(r": ([\w, ]+)\.", question)
        assert listed
        entries = [("a", noun) for noun in listed[1].split(", ")]
    count, counts = 0, []
    for number, noun in entries:
        if kind in {"objects", KIND_OF.get(noun, "")}:
            count += 1 if number in {"a", "an"} else NUMBERS.index(number)
        counts.append(str(count))
    return counts


# ---- look-ups and pointers

ENTRIES = (
    r"The code of (\w+) is (\w+)",
    r"(\w+) is in position (\w+)",
    r"(\w+) lives in room (\w+)",
    r"The key of (\w+) is in box (\w+)",
    r"(\w+) is (\d+) years old",
    r"(\w+) has the (?!code)(\w+)",
    r"(\w+) is at the (\w+)",
    r"(\w+): (\w+)(?=[,.])",
)


def lookup(question: str) -> list[str]:
    pairs = next(p for p in (re.findall(e + r"(?=[,.])", question) for e in ENTRIES) if p)
    values, keys = dict(pairs), {value: key for key, value in pairs}
    asked = re.split(r"[.] ", question.split("?", maxsplit=1)[0])[-1]
    if ":" in asked:
        asked = asked.rsplit(": ", 1)[-1]
    return [(values | keys)[next(w for w in re.findall(r"\w+", asked) if w in values | keys)]]


HOPS = (
    r"(\w+) points to (\w+)\.",
    r"(\w+)'s best friend is (\w+)\.",
    r"From (\w+) you hop to (\w+)\.",
    r"After (\w+) comes (\w+)\.",
    r"(\w+) gives it to (\w+)\.",
    r"(\w+) leads to (\w+)\.",
    r"(\w+) sends every letter on to (\w+)\.",
    r"The boss of (\w+) is (\w+)\.",
)
START = (
    r"Start (?:at|with) (\w+)|You are at (\w+)|(?:next|second|third|number \d) after (\w+)|"
    r"(\w+) has the parcel|chain begins with (\w+)|(\w+) gets a letter|the boss of (\w+)\?"
)
ORDINALS = {"once": 1, "twice": 2, "next": 1, "second": 2, "third": 3}


def pointers(question: str) -> list[str]:
    following = dict(next(p for p in (re.findall(h, question) for h in HOPS) if p))
    start = re.search(START, question)
    assert start
    place = next(filter(None, start.groups()))
    asked = question[max(0, question.rindex(place) - 60) :]
    ordinal = re.search(r"\b(?:arrows|and go|and hop) (\w+)|\b(next|second|third) after", asked)
    number = re.search(r"number (\d) after", asked)
    bosses = question.count("the boss of")
    hops = bosses or (int(number[1]) if number else 0)
    if ordinal and not hops:
        word = ordinal[1] or ordinal[2]
        hops = ORDINALS[word] if word in ORDINALS else int(word)
    states: list[str] = []
    while place in following and (not hops or len(states) < hops):
        place = following[place]
        states.append(place)
    return states


# ---- sorting, dates, units


def sorting(question: str) -> list[str]:
    numbers = [int(n) for n in re.findall(r"\d+", question.replace("Question 1\n", ""))]
    if "Which" in question:
        best = max if "largest" in question else min
        return [str(best(numbers[:read])) for read in range(2, len(numbers) + 1)]
    falls = re.search("descending|from the largest", question) is not None
    return [" ".join(map(str, sorted(numbers, reverse=falls)))]


def words(question: str) -> list[str]:
    return [" ".join(sorted(re.findall(r"[\w']+", question.rsplit(": ", 1)[1])))]


def dates(question: str) -> list[str]:
    if re.search("How many|Count the", question) and "clock" not in question:
        return duration(question)
    shifts = [
        -int(number) if re.search(r"\bback\b", sentence) else int(number)
        for sentence in re.split(r"(?<=[.?!:])\s+", question)
        for number in re.findall(r"(\d+) (?:day|month|hour)s?\b", sentence)
    ]
    day = rf"({'|'.join(DAYS)})"
    month = rf"({'|'.join(MONTHS)})"
    if clock := re.search(r"clock says (\d+) o'clock", question):
        return ring([str(hour) for hour in range(1, 13)], clock[1], shifts)
    if weekday := re.search(day, question):
        return ring(DAYS, weekday[1], shifts)
    if date := re.search(rf"is on {month} (\d+)", question):
        months = zip(MONTHS, MONTH_LENGTHS, strict=True)
        year = [f"{m} {d}" for m, length in months for d in range(1, length + 1)]
        return ring(year, f"{date[1]} {date[2]}", shifts)
    named = re.search(rf"It is {month}", question)
    assert named
    return ring(MONTHS, named[1], shifts)


def ring(places: Sequence[str], start: str, shifts: list[int]) -> list[str]:
    place = places.index(start)
    states = []
    for shift in shifts:
        place = (place + shift) % len(places)
        states.append(places[place])
    return states


def duration(question: str) -> list[str]:
    sizes = {"day": {"week": 7}, "month": {"year": 12}, "hour": {"day": 24}, "piece": {"dozen": 12}}
    asked = re.search(r"(?:How many|Count the) (\w+)s\b", question)
    assert asked
    total, totals = 0, []
    for number, unit in re.findall(r"(\d+) (\w+?)s?\b", question):
        if unit in {asked[1], *sizes[asked[1]]}:
            total += int(number) * sizes[asked[1]].get(unit, 1)
            totals.append(str(total))
    return totals


SOLVERS: dict[str, Callable[[str], list[str]]] = {
    "boolean": boolean,
    "lies": lies,
    "tracking": tracking,
    "navigation": navigation,
    "counting": counting,
    "arithmetic": arithmetic,
    "lookup": lookup,
    "pointers": pointers,
    "sorting": sorting,
    "dates": dates,
    "words": words,
}
