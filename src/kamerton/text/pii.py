"""Find and mask personal data and secrets in texts.

Numbers that are only digits are believed where they have a checksum that fits (cards: Luhn's, INN, SNILS,
IBAN) or where a word beside them says what they are.
"""

import operator
import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Family = Literal["person", "secret"]


@dataclass(frozen=True)
class Private:
    """Something that should not be memorized."""

    kind: str
    family: Family
    start: int
    end: int


@dataclass(frozen=True)
class Pattern:
    """How one kind looks: a cheap hint that must be there, what matches, and a proof.

    The hint is a pattern, or words of which one stands in the text, whatever their case.
    """

    kind: str
    family: Family
    hint: re.Pattern[str] | tuple[str, ...]
    match: re.Pattern[str]
    proof: Callable[[str], bool] = lambda _text: True


def _digits(text: str) -> list[int]:
    return [int(sign) for sign in text if sign in "0123456789"]


def is_card(text: str) -> bool:
    """Check a card's number: a known issuer's first digits and Luhn's checksum (ISO/IEC 7812-1, annex B)."""
    digits = _digits(text)
    if not 13 <= len(digits) <= 19 or digits[0] not in (2, 3, 4, 5, 6) or len(set(digits)) < 2:
        return False
    doubled = [2 * digit for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(digit - 9 if digit > 9 else digit for digit in doubled)) % 10 == 0


def is_inn(text: str) -> bool:
    """Check a Russian taxpayer's number of 10 or 12 digits (order of the tax service MMV-7-6/435, annex)."""
    digits, twelve = _digits(text), (7, 2, 4, 10, 3, 5, 9, 4, 6, 8)
    checks = {10: (twelve[1:],), 12: (twelve, (3, *twelve))}.get(len(digits), ())
    sums = [sum(map(operator.mul, digits, weights)) % 11 % 10 for weights in checks]
    return bool(sums) and sums == digits[-len(sums) :]


def is_snils(text: str) -> bool:
    """Check a Russian insurance number of 11 digits (order 335p of the pension fund, annex)."""
    digits = _digits(text)
    total = sum(map(operator.mul, digits, range(9, 0, -1))) % 101
    return len(digits) == 11 and total % 100 == 10 * digits[9] + digits[10]


def is_iban(text: str) -> bool:
    """Check an account's number by its remainder of 97 (ISO 13616)."""
    account = "".join(text.split())
    return 15 <= len(account) <= 34 and int("".join(str(int(sign, 36)) for sign in account[4:] + account[:4])) % 97 == 1


def is_phone(text: str) -> bool:
    """Check that a number has the digits of a telephone's, and is not one digit over and over."""
    digits = _digits(text)
    return 10 <= len(digits) <= 15 and len(set(digits)) > 2


LONG_NUMBER = re.compile(r"\d(?:[ .()\u00a0-]{0,3}\d){9}")
KEYED = (
    *("akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "sk-", "k_live_", "k_test_"),
    *("xox", "aiza", "hf_", "npm_", "pypi-", "eyj", "private key", ":aa"),
)
KEY = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?:(?!-----BEGIN [A-Z ]*PRIVATE)[\s\S]){0,8000}?-----END (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----)?"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[0-9A-Za-z]{36,}|\bgithub_pat_\w{22,}|\bglpat-[\w-]{20,}"
    r"|\bsk-(?:ant-|proj-|svcacct-)?[\w-]{20,}|\b[sr]k_(?:live|test)_[0-9A-Za-z]{16,}|\bxox[abprs]-[\w-]{10,}"
    r"|\bAIza[\w-]{35}|\bhf_[0-9A-Za-z]{30,}|\bnpm_[0-9A-Za-z]{36}|\bpypi-[\w-]{30,}"
    r"|\beyJ(?=[\w-]{10})(?:(?!\beyJ)[\w-])*+\.eyJ[\w-]{10,}+\.[\w-]{10,}|\b\d{8,10}:AA[\w-]{32,34}\b"
)
PASSWORD = re.compile(
    r"(?:\b(?:password|passwd|pwd|secret|api[_-]?key|access[_-]?token|auth[_-]?token|парол[ья])\b[\"']?\s*[:=]\s*)"
    r"[\"']?(?=[^\s\"']{0,200}\d)(?=[^\s\"']{0,200}[A-Za-zА-я])[^\s\"'<>{}()\[\],;]{8,}|\b[a-z][a-z0-9+]{2,20}://[^\s/:@]{1,64}:[^\s/@]{3,64}@[\w.-]+",
    re.IGNORECASE,
)
E_MAIL = re.compile(r"(?<![\w.+-])[\w][\w.+-]{0,63}@(?:[\w-]{1,63}\.)+[^\W\d_]{2,24}(?![\w@])")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[0-9A-Z]{4}){2,7}(?: ?[0-9A-Z]{1,3})?\b")
SNILS = re.compile(r"(?<![\d-])\d{3}-\d{3}-\d{3}[ -]\d{2}(?!\d)|(?<=СНИЛС )\d{11}(?!\d)|(?<=СНИЛС: )\d{11}(?!\d)")
PHONE = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}[ .(\u00a0-]{0,2}\d{2,4}(?:[ .)(\u00a0-]{0,2}\d{2,4}){2,4}"
    r"|8[ (\u00a0-]{0,2}[3489]\d\d[ )\u00a0-]{0,2}\d{3}[ \u00a0-]?\d\d[ \u00a0-]?\d\d"
    r"|\(?[2-9]\d\d\)?[ .-]\d{3}[ .-]\d{4})(?![\w-])"
)
PATTERNS = (
    Pattern("key", "secret", KEYED, KEY),
    Pattern("password", "secret", ("pass", "pwd", "secret", "token", "api", "парол", "://"), PASSWORD),
    Pattern("e-mail", "person", ("@",), E_MAIL),
    Pattern("IBAN", "person", re.compile(r"[A-Z]{2}\d\d"), IBAN, is_iban),
    Pattern("card", "person", LONG_NUMBER, re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-]|\.\d)"), is_card),
    Pattern("SNILS", "person", LONG_NUMBER, SNILS, is_snils),
    Pattern("INN", "person", ("инн", "inn"), re.compile(r"(?<=\b(?:ИНН|INN)[ :])\s?\d{10}(?:\d\d)?(?!\d)"), is_inn),
    Pattern("passport", "person", ("паспорт",), re.compile(r"(?i:паспорт[^\d\n]{0,30})\d\d ?\d\d[ №]{0,3}\d{6}(?!\d)")),
    Pattern("phone", "person", LONG_NUMBER, PHONE, is_phone),
)


def find_private(text: str, family: Family | None = None) -> list[Private]:
    """Return the personal data and secrets of a text, or one of the two, in order.

    Where kinds overlap, the more certain one counts.

    >>> [found.kind for found in find_private("Write to ann@example.org or call +7 912 345-67-89")]
    ['e-mail', 'phone']
    """
    found: list[Private] = []
    small, number = text.lower(), bool(LONG_NUMBER.search(text))
    for pattern in PATTERNS:
        hint = pattern.hint
        if family not in (None, pattern.family) or (hint is LONG_NUMBER and not number):
            continue
        if any(word in small for word in hint) if isinstance(hint, tuple) else hint.search(text):
            spans = [match.span() for match in pattern.match.finditer(text) if pattern.proof(match.group())]
            starts = [one.start for one in found]
            free = [span for span in spans if not (at := bisect_left(starts, span[1])) or found[at - 1].end <= span[0]]
            new = [Private(pattern.kind, pattern.family, start, end) for start, end in free]
            found = sorted(found + new, key=lambda one: one.start)
    return found


def mask(text: str) -> str:
    """Return a text with its personal data and secrets masked but for the first two characters.

    >>> mask("Write to ann@example.org")
    'Write to an••••••'
    """
    parts, at = [], 0
    for one in find_private(text):
        parts += [text[at : one.start + 2], "•" * min(6, one.end - one.start - 2)]
        at = one.end
    return "".join((*parts, text[at:]))
