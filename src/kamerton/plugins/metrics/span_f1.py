"""Span F1: how many spans are found, with both ends and the kind right."""

from typing import ClassVar

from kamerton.core.messages import msg
from kamerton.plugins.metrics._kinds import TagF1


class SpanF1(TagF1):
    """Micro F1 over spans, strictly in IOB2 as seqeval's (Nakayama 2018); bare tags in a row are one span."""

    meaning: ClassVar = msg(
        "How many spans are found with both ends and the kind right, and how many of the found ones are right."
    )
