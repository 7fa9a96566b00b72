"""The ladder: asks above, bids below, the best of each nearest to the middle, with depth bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from rich import box
from rich.table import Table
from rich.text import Text

from flopex.render.format import PRICE_UNIT, grouped, price

BAR_CELLS: Final = 16
"""Width of the longest depth bar."""
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


class LevelLike(Protocol):
    """One price level: price in nano-dollars per CU, quantity, number of orders."""

    @property
    def price_nanos(self) -> int:
        """Nano-dollars per CU."""
        ...

    @property
    def quantity(self) -> int:
        """MFLOP on a continuous book; slots or waiting jobs on a batch book."""
        ...

    @property
    def orders(self) -> int:
        """Orders or quotes at this price."""
        ...


@dataclass(frozen=True, slots=True)
class LadderView:
    """What a ladder shows.

    Attributes:
        title: The instrument's name.
        bids: Best first.
        asks: Best first.
        last_price_nanos: Last price traded; 0 for none.
        batch: Whether quantities are slots and jobs; else MFLOP.
        subtitle: A line below, such as the state.
    """

    title: str
    bids: Sequence[LevelLike]
    asks: Sequence[LevelLike]
    last_price_nanos: int = 0
    batch: bool = True
    subtitle: str = ""


def bar(quantity: int, largest: int, cells: int, right: bool = False) -> str:
    """A bar of at most `cells` cells, in eighths from the left; whole cells from the right."""
    if largest <= 0 or quantity <= 0:
        return ""
    eighths = max(1, quantity * cells * 8 // largest)
    full, rest = divmod(eighths, 8)
    if right:
        # There are no glyphs for blocks that grow from the right in eighths.
        return ("█" * max(1, full)).rjust(cells)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def ladder(view: LadderView, levels: int = 8, cells: int = BAR_CELLS) -> Table:
    """The ladder as a table; sides are told apart by place and words, not by colour alone."""
    unit = "jobs" if view.batch else "MFLOP"
    supply = "slots" if view.batch else "MFLOP"
    table = Table(
        title=Text(view.title, style="bold"),
        caption=view.subtitle or None,
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        pad_edge=False,
    )
    table.add_column("", justify="right", width=cells, no_wrap=True)
    table.add_column(f"bid {unit}", justify="right", min_width=8, no_wrap=True)
    table.add_column(PRICE_UNIT, justify="right", min_width=12, no_wrap=True)
    table.add_column(f"ask {supply}", justify="right", min_width=9, no_wrap=True)
    table.add_column("", justify="left", width=cells, no_wrap=True)
    bids, asks = view.bids[:levels], view.asks[:levels]
    largest = max((level.quantity for level in (*bids, *asks)), default=0)
    for level in reversed(asks):
        shape = Text(bar(level.quantity, largest, cells), style="red")
        cost = Text(price(level.price_nanos), style="red")
        table.add_row("", "", cost, grouped(level.quantity), shape)
    table.add_row("", "", _middle(view), "", "")
    for level in bids:
        shape = Text(bar(level.quantity, largest, cells, right=True), style="green")
        worth = Text(price(level.price_nanos), style="green")
        table.add_row(shape, grouped(level.quantity), worth, "", "")
    return table


def _middle(view: LadderView) -> Text:
    if view.bids and view.asks:
        spread = view.asks[0].price_nanos - view.bids[0].price_nanos
        text = f"spread {price(spread)}"
    elif view.asks:
        text = "no bids"
    elif view.bids:
        text = "no asks"
    else:
        text = "empty"
    if view.last_price_nanos:
        text += f"\nlast {price(view.last_price_nanos)}"
    return Text(text, style="dim")
