"""YAML as recipes are written: any text on one line."""

import math

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes any text on one line: what cannot be printed is escaped in double quotes."""


def _represent(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _represent)


def inline(value: object) -> str:
    """Format a value as YAML on one line."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, sort_keys=False, width=math.inf
    )
    return text.removesuffix("...\n").strip()
