"""What a metric needs of the rows to have a meaning."""

from typing import ClassVar

from kamerton.core.messages import Message
from kamerton.core.records import Example


class Demanding:
    """A metric that is undefined, whatever is answered, on rows that offer fewer than `least` different things."""

    least: ClassVar[int] = 2
    lack: ClassVar[Message]
    """Why it is undefined then."""

    def offered(self, example: Example) -> object:
        """Return what a row offers, None for nothing: how people judged it, or its right answer."""
        return example.fields.get("wanted", example.gold)
