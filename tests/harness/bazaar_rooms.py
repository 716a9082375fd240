"""A room that declares every kind of type that generators of client code must know."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
from msgspec import Meta

from tickwire import (
    Event,
    Input,
    Player,
    Room,
    Table,
    Transaction,
    boolean,
    command,
    enumeration,
    quaternion,
    real,
    text,
    uint,
    vec2,
)

Price = Annotated[int, Meta(ge=1, le=999)]


class Currency(enum.Enum):
    """The kinds of money."""

    GOLD = "gold"
    GEMS = "gems"


class Coordinates(NamedTuple):
    x: float
    y: float


class Listing(msgspec.Struct):
    """An item for sale.

    Clients create listings, and receive those of others.
    """

    item: str
    price: Price
    currency: Currency = Currency.GOLD
    parts: list[Listing] = []


class ListingPage(msgspec.Struct, omit_defaults=True):
    listings: list[Listing]
    next: str | None = None


@dataclass
class Booth:
    place: Coordinates
    opened: datetime | None = None
    closed: date | None = None


class Sale(msgspec.Struct, tag="sale"):
    amount: Annotated[float, Meta(gt=0, le=2.5)]


class Gift(msgspec.Struct, tag="gift"):
    to: Annotated[str, Meta(min_length=1, max_length=20)]


class ListingAdded(Event):
    """A listing is new."""

    listing: Listing
    booths: dict[int, Booth]


class Traded(Event):
    event_name = "trade"

    how: Sale | Gift
    receipt: bytes = b""


class Merchants(Table):
    """The players at the market."""

    place = vec2(-8, 8, step=1 / 4)
    pose = quaternion()
    coins = uint(bits=10)
    mood = enumeration("calm", "merry")
    is_open = boolean()
    name = text(bytes_max=24)


class TraderOptions(msgspec.Struct):
    nickname: Annotated[str, Meta(max_length=16)]
    coins: int = 5


class BazaarOptions(TypedDict, total=False):
    season: str


class BazaarInput(Input):
    walk = real(-1, 1, step=1 / 4)


class Bazaar(Room):
    """A market."""

    room_type = "grand-bazaar"
    events = (ListingAdded, Traded)
    input_type = BazaarInput
    merchants: Merchants

    def on_create(self, options: BazaarOptions) -> None: ...

    def on_join(self, player: Player, options: TraderOptions) -> None: ...

    @command
    def sell(self, player: Player, listing: Listing, count: Annotated[int, Meta(ge=1, le=99)] = 1) -> int:
        """Put an item up for sale.

        It stays until it is sold.

        Args:
            player: the owner.
            listing: the item and
                its price.
            count: the number of items.

        Returns:
            other: than an argument.
        """
        return count

    @command
    def browse(self, player: Player, order: Literal["price", "age"] = "age") -> ListingPage:
        return ListingPage([])

    @command
    def buy(self, player: Player, listing: str) -> Transaction:
        return Transaction(reply=listing)

    @command
    def pay(self, player: Player, amount: Annotated[int, Meta(ge=1, lt=2**53)]) -> bool:
        return True

    @command
    def wave(self, player: Player) -> None: ...

    @command
    def note(self, player: Player, value: Any) -> tuple[int, str | None]:
        return 0, None
