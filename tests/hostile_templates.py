"""Chat templates and tokenizers of strangers: 50 templates that reach for the system, 32 bombs, 12 tokenizers."""

from __future__ import annotations

from typing import Any

RUN = "system('touch CANARY')"
REACHING = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__']['__mro__'][1]['__subclasses__']() }}",
    "{{ ''['\\x5f\\x5fclass\\x5f\\x5f']['\\x5f\\x5fmro\\x5f\\x5f'] }}",
    "{{ ''[['_' * 2, 'class', '_' * 2] | join].mro() }}",
    "{{ '' | attr('__class__') | attr('__mro__') }}",
    "{{ '' | attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "{{ '' | attr(['_' * 2, 'class', '_' * 2] | join) }}",
    "{{ dict.__base__.__subclasses__() }}",
    "{{ dict.mro() }}",
    "{{ dict['mro']()[-1]['\\x5f_subclasses_\\x5f']() }}",
    "{{ range.__class__.mro(range) }}",
    "{{ lipsum.__globals__.os." + RUN + " }}",
    "{{ lipsum['\\x5f\\x5fglobals\\x5f\\x5f']['os']." + RUN + " }}",
    "{{ lipsum[['_' * 2, 'globals', '_' * 2] | join]['os']." + RUN + " }}",
    "{{ cycler.__init__.__globals__.os." + RUN + " }}",
    "{{ cycler['\\x5f_init_\\x5f']['\\x5f_globals_\\x5f'].os." + RUN + " }}",
    "{{ joiner.__init__.__globals__.os.popen('touch CANARY').read() }}",
    "{{ namespace.__init__.__globals__.sys.modules.os." + RUN + " }}",
    "{{ namespace()['\\x5f_init_\\x5f']['\\x5f_globals_\\x5f'].sys.modules.os." + RUN + " }}",
    "{{ raise_exception.__globals__.jinja2.utils.os." + RUN + " }}",
    "{{ raise_exception['\\x5f_globals_\\x5f'].json.codecs.open('CANARY', 'w') }}",
    "{{ strftime_now.__globals__['__builtins__']['__import__']('os')." + RUN + " }}",
    "{{ strftime_now['\\x5f_code_\\x5f'].co_consts }}",
    "{{ strftime_now['\\x5f_closure_\\x5f'] }}",
    "{{ self.__init__.__globals__.__builtins__.__import__('os')." + RUN + " }}",
    "{{ self['\\x5f_init_\\x5f']['\\x5f_globals_\\x5f'] }}",
    "{{ self._TemplateReference__context.environment.from_string('{{ 1 }}') }}",
    "{{ self['_TemplateReference\\x5f_context'].environment }}",
    "{{ messages[0].__class__.__init__.__globals__ }}",
    "{{ messages[0].content['\\x5f_class_\\x5f'] }}",
    "{{ messages.sort['\\x5f_self_\\x5f'] }}",
    "{{ messages.append(messages) }}{{ messages.clear() }}",
    "{{ messages | map(attribute='__class__') | list }}",
    "{{ [lipsum] | map(attribute='\\x5f_globals_\\x5f') | list }}",
    "{{ [lipsum] | map('attr', '\\x5f_globals_\\x5f') | list }}",
    "{{ [lipsum] | groupby('\\x5f_globals_\\x5f') | map('first') | list }}",
    "{{ [cycler] | sum('\\x5f_init_\\x5f.\\x5f_globals_\\x5f') }}",
    "{{ (messages | select).gi_frame.f_back.f_globals }}",
    "{{ (messages | map('string'))['gi_frame']['f_globals'] }}",
    "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "{{ '{0.\\x5f_class_\\x5f}'.format(messages) }}",
    "{{ '{a.\\x5f_class_\\x5f}'.format_map({'a': messages}) }}",
    "{% set f = '{0.\\x5f_class_\\x5f}'.format %}{{ f(messages) }}",
    "{{ (['{0.\\x5f_class_\\x5f}'] | map('attr', 'format') | first)(messages) }}",
    "{{ ('{0.\\x5f_class_\\x5f}' | attr('format'))(messages) }}",
    "{% macro m() %}{% endmacro %}{{ m.__call__.__globals__.os." + RUN + " }}",
    "{% macro m() %}{% endmacro %}{{ m['_func']['\\x5f_globals_\\x5f'] }}{{ m['_environment'] }}",
    "{% for a in messages %}{{ loop['\\x5f_init_\\x5f']['\\x5f_globals_\\x5f'] }}{{ loop['_context'] }}{% endfor %}",
    "{% import 'os' as os %}{{ os." + RUN + " }}",
    "{% include '/etc/passwd' %}",
)
"""What has reached Python, a file or a program from a template in some library or version; CANARY is a path."""
LEAKED = ("<class", "<function", "<module", "<jinja2", "<built-in", "object at 0x", "root:", "'os'")

START = "{% set ns = namespace(s='xy', n=9, a=[1], b=[1]) %}"
FORTY = START + "{% for i in range(40) %}"
BOMBS = {
    "power": "{{ (9**99999999)|string|length }}",
    "power by another name": "{{ 9.5|round(9999 * 9999, 'ceil') }}",
    "nested loops": "{% for i in range(9999) %}" * 3 + "x" + "{% endfor %}" * 3,
    "silent loops": "{% for i in range(9999) %}" * 3 + "{% endfor %}" * 3,
    "loops over text": "{% for a in messages[0].content %}" * 9 + "{{ a }}" + "{% endfor %}" * 9,
    "doubling": FORTY + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s|length }}",
    "adding": FORTY + "{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s|length }}",
    "doubling lists": FORTY + "{% set ns.a = ns.a + ns.a %}{% endfor %}{{ ns.a|length }}",
    "doubling blocks": FORTY + "{% set t %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = t %}{% endfor %}",
    "tripling": FORTY + "{% set ns.s = ns.s|replace('x', 'xxx') %}{% endfor %}",
    "chained replacing": "{{ 'x'" + "|replace('x', 'xxxxxxxxxx')" * 12 + " }}",
    "joining": "{% set a = 'x' * 9999 %}{{ (a|list|join(a))|list|join(a) }}",
    "products": "{% set a = 'x' * 9999 %}{% set b = a * 9999 %}{% set c = b * 9999 %}{{ c|length }}",
    "squaring": FORTY + "{% set ns.n = ns.n * ns.n %}{% endfor %}{{ ns.n % 2 }}",
    "nested lists": FORTY + "{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a|string|length }}",
    "nested lists in JSON": FORTY + "{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a|tojson|length }}",
    "nested lists compared": FORTY + "{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}"
    "{{ ns.a == ns.b }}",
    "branching": "{% macro f(n) %}{% if n < 40 %}{{ f(n + 1) }}{{ f(n + 1) }}{% endif %}{% endmacro %}{{ f(0) }}",
    "padding": "{{ 'x'.ljust(9999 * 99999)|length }}",
    "padding by a format": "{{ ('%9' ~ '99999999d') % 1 }}",
    "padding by another format": "{{ '{:>9999999999}'.format(1)|length }}",
    "indenting": "{{ 'a\nb'|indent(9999 * 99999)|length }}",
    "filling": "{{ [1]|batch(9999 * 99999, 1)|list|length }}",
    "tabs": "{{ '\t'.expandtabs(9999 * 99999)|length }}",
    "sorting": "{% set a = range(99999)|list %}{% for i in range(9999) %}{{ a|sort|length }}{% endfor %}",
    "dates": "{{ strftime_now('%c' * 9999 * 9999)|length }}",
    "bytes": "{{ (1).to_bytes(9999 * 99999, 'big')|length }}",
    "endless recursion": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "deep expression": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "long expression": "{{ 1" + " + 1" * 20_000 + " }}",
    "two megabytes": "{{ 'x' * 2000000 }}",
    "endless number": "{{ " + "9" * 5000 + " }}",
}  # fmt: skip
"""Templates that take too long, too much memory or write too much, each in another way."""


def replacing(pattern: str, content: str) -> dict[str, Any]:
    """Return a rule of a normalizer."""
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def splitting(pattern: str) -> dict[str, Any]:
    """Return a pre-tokenizer."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def in_sequence(*rules: dict[str, Any]) -> dict[str, Any]:
    """Return a normalizer of several rules."""
    return {"type": "Sequence", "normalizers": list(rules)}


def written_with(*ids: int, texts: int = 1) -> dict[str, Any]:
    """Return a post-processor that writes tokens around a text, or the text itself repeatedly."""
    special = [{"SpecialToken": {"id": "[X]", "type_id": 0}}] if ids else []
    single = special + [{"Sequence": {"id": "A", "type_id": 0}}] * texts
    return {
        "type": "TemplateProcessing", "single": single, "pair": [*single, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"[X]": {"id": "[X]", "ids": list(ids), "tokens": ["[X]"] * len(ids)}} if ids else {},
    }  # fmt: skip


TOKENIZERS: dict[str, dict[str, Any]] = {
    "a rule that multiplies": {"normalizer": replacing("a", "a" * 1_000_000)},
    "rules that multiply": {"normalizer": in_sequence(*[replacing("a", "a" * 10)] * 12)},
    "rules that double": {"normalizer": in_sequence(*[replacing("e", "ee")] * 40)},
    "rules that wait for a letter": {"normalizer": in_sequence(*[replacing("ў", "ўў")] * 40)},
    "rules that wait for a word": {"normalizer": in_sequence(*[replacing("refund", "refund" * 10)] * 12)},
    "a word of a million spaces": {"normalizer": replacing(" ", " " * 1_000_000)},
    "a text before each": {"normalizer": {"type": "Prepend", "prepend": "x" * 1_000_000}},
    "an exponential pattern": {"pre_tokenizer": splitting(r"(\w|\w|\w)*\d{9}$")},
    "an exponential pattern of spaces": {"pre_tokenizer": splitting(r"(\s|\s)*\d{9}$")},
    "a quadratic pattern": {"pre_tokenizer": splitting(r"(a+)+(a+)+\d{9}$")},
    "a text written often": {"post_processor": written_with(texts=50_000)},
    "tokens around each": {"post_processor": written_with(*[0] * 300_000)},
}
"""Parts of a tokenizer.json that multiply texts, or never end."""
