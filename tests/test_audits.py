import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

from kamerton.core import registry
from kamerton.core.contracts import AuditContext
from kamerton.core.messages import Message
from kamerton.core.records import Example, Finding, Place
from kamerton.data.audit import run_audit
from kamerton.plugins.audits._check import Data, first_of, quote, share

CLASSES = AuditContext(stratified=True, lengths=None, max_tokens=None)
SHARED = AuditContext(stratified=True, lengths=None, max_tokens=None, share_metric="accuracy")
FREE = AuditContext(stratified=False, lengths=None, max_tokens=None)


def examples_of(*pairs: tuple[str, str]) -> list[Example]:
    return [Example(i, Place("rows.csv", i + 2), text, gold) for i, (text, gold) in enumerate(pairs)]


def many(sizes: dict[str, int]) -> list[Example]:
    return examples_of(*((f"{gold} {i}", gold) for gold, size in sizes.items() for i in range(size)))


def check(word: str, examples: Sequence[Example], context: AuditContext = CLASSES) -> Finding | None:
    finding: Finding | None = registry.choose("audits", word)().check(examples, context)
    return finding


def found(word: str, examples: Sequence[Example], context: AuditContext = CLASSES) -> Finding:
    finding = check(word, examples, context)
    assert finding is not None
    return finding


@pytest.mark.parametrize("word", registry.names("audits"))
@pytest.mark.parametrize("examples", [[], many({"a": 1}), many({"a": 400, "b": 300}), examples_of(("", ""))])
@pytest.mark.parametrize("context", [CLASSES, FREE, AuditContext(True, None, 5)])
def test_every_check_keeps_its_contract(word: str, examples: list[Example], context: AuditContext) -> None:
    finding = check(word, examples, context)
    if finding is not None:
        assert finding.check == word
        assert finding.title and finding.remedy and finding.severity in ("severe", "warning", "note")
        assert set(finding.drop) <= set(finding.rows) <= {example.id for example in examples}


def test_clean_balanced_data_has_no_finding_but_the_limits_of_its_size() -> None:
    def mixed(rows: int) -> list[Example]:
        return examples_of(*((f"{i}", random.Random(i).choice("ab")) for i in range(rows)))

    assert run_audit(mixed(10_000), CLASSES) == []
    assert [finding.check for finding in run_audit(mixed(1000), CLASSES)] == ["small-data"]


def test_findings_are_sorted_by_severity() -> None:
    examples = examples_of(*[("same", "a"), ("same", "b"), ("", "a"), ("x", "a"), ("x", "a")] * 3)
    severities = [finding.severity for finding in run_audit(examples, CLASSES)]
    assert severities == sorted(severities, key=["severe", "warning", "note"].index)
    assert len(set(severities)) > 1


def test_blank_texts_and_answers_are_dropped() -> None:
    finding = found("empty-fields", examples_of(("a", "x"), (" \n", "x"), ("b", ""), ("\u00a0", ""), ("c", "y")), FREE)
    assert finding.drop == finding.rows == (1, 2, 3)
    assert finding.severity == "warning" and str(finding.title).endswith("the text 2, the answer 2")
    assert str(finding.samples[0]) == "rows.csv:3: '' → 'x'"


def test_repeats_are_dropped_but_for_the_first_and_whatever_their_case_and_spaces() -> None:
    pairs = [("Тёплый  фильм", "x"), ("тёплый фильм ", "x"), ("тёплый фильм", "y"), ("ﬁne", "x"), ("FINE", "x")]
    finding = found("exact-duplicates", examples_of(*pairs, ("other", "x")), FREE)
    assert finding.drop == (1, 4)
    assert check("exact-duplicates", examples_of(("a", "x"), ("b", "x"))) is None


def test_conflicts_are_shown_and_kept_and_severe_from_one_in_a_hundred() -> None:
    conflict = [("Один текст", "x"), ("один текст", "y"), ("один текст", "y")]
    finding = found("conflicting-labels", examples_of(*conflict, ("a", "x"), ("", "x"), ("", "y")))
    assert (finding.rows, finding.drop, finding.severity) == ((0, 1, 2), (), "severe")
    mild = examples_of(*conflict, *((f"t{i}", "x") for i in range(400)))
    assert found("conflicting-labels", mild).severity == "warning"
    assert check("conflicting-labels", examples_of(*conflict), FREE) is None


def test_rare_classes_are_judged_by_their_different_texts() -> None:
    assert check("rare-classes", many({"a": 10, "b": 10})) is None
    nine = found("rare-classes", many({"a": 50, "b": 9}))
    assert nine.severity == "warning" and nine.rows == tuple(range(50, 59))
    assert found("rare-classes", many({"a": 50, "b": 3})).severity == "warning"
    two = found("rare-classes", many({"a": 50, "b": 2, "c": 5}))
    assert two.severity == "severe" and "1 class has fewer than 3 texts" in str(two.title) and "'b'" in str(two.title)
    repeated = examples_of(*[(f"t{i}", "a") for i in range(20)], *[("same", "b")] * 20)
    assert found("rare-classes", repeated).severity == "severe"
    assert check("rare-classes", many({"a": 50, "b": 2}), FREE) is None


def test_one_class_is_severe_with_a_remedy() -> None:
    finding = found("rare-classes", [*many({"a": 50}), Example(99, Place("f", 1), "x", "")])
    assert finding.severity == "severe" and "'a'" in str(finding.title) and "another class" in str(finding.remedy)


def test_long_rows_are_counted_with_the_longest() -> None:
    examples = many({"a": 1000})
    lengths = [10] * 995 + [513, 2113, 513, 513, 513]
    finding = found("too-long", examples, AuditContext(True, lengths, 512))
    assert finding.rows == tuple(range(995, 1000)) and finding.drop == ()
    assert str(finding.title) == "5 rows have more than 512 tokens (0.5%); the longest has 2,113"
    assert finding.severity == "note"
    assert found("too-long", examples, AuditContext(True, [600] * 1000, 512)).severity == "warning"
    assert check("too-long", examples, AuditContext(True, [512] * 1000, 512)) is None
    assert check("too-long", examples, CLASSES) is None


@pytest.mark.parametrize(("rows", "severity"), [(200, "severe"), (900, "warning"), (5000, "note")])
def test_small_data_names_wilsons_half_width(rows: int, severity: str) -> None:
    finding = found("small-data", many({"a": rows}), SHARED)
    low, high = proportion_confint(0.8 * rows / 10, rows / 10, method="wilson")
    assert f"{rows // 10} test rows" in str(finding.title)
    assert f"within {(high - low) / 2:.0%}" in str(finding.title)
    assert finding.severity == severity


def test_small_data_follows_the_share_of_the_test_rows() -> None:
    halves = AuditContext(True, None, None, test_share=0.5)
    assert check("small-data", many({"a": 2000}), halves) is None
    assert "1,000 test rows" not in str(found("small-data", many({"a": 2000})).title)
    assert "nothing can be proven" in str(found("small-data", many({"a": 3})).title)


@pytest.mark.parametrize("context", [SHARED, FREE])
@pytest.mark.parametrize("tested", range(60))
def test_small_data_promises_nothing_that_so_few_rows_cannot_keep(tested: int, context: AuditContext) -> None:
    finding = found("small-data", many({"a": 400}), replace(context, tested=tested))
    assert f"with {tested} test row" in str(finding.title) and "100%" not in str(finding.title)
    assert ("nothing can be proven" in str(finding.title)) == (tested < 6)  # 6 rows all one way: p = 2 / 2**6 = 0.03
    assert ("nearly every row" in str(finding.title)) == (
        6 <= tested < 8
    )  # McNemar's test by Connor's formula, above 7.85
    assert ("halve both" in str(finding.remedy)) == ("would be known" in str(finding.title))


def test_small_data_speaks_of_shares_only_where_a_share_decides() -> None:
    title = str(found("small-data", many({"a": 400}), FREE).title)
    assert "only large differences would show" in title and "80%" not in title


def test_the_difference_that_hardly_shows_is_shown_by_four_of_five_simulated_exact_tests() -> None:
    """Of 626 pairs, 12.5% that one and 7.5% that the other alone has right: a difference of 5%."""
    title = str(found("small-data", many({"a": 6260}), SHARED).title)
    assert "626 test rows" in title and "accuracy of 80%" in title
    assert "difference below 5%" in title
    pairs = np.random.default_rng(0).multinomial(626, [0.125, 0.075, 0.8], size=1000)
    significant = [binomtest(int(one), int(one + two)).pvalue < 0.05 for one, two, _ in pairs]
    assert sum(significant) / 1000 == pytest.approx(0.8, abs=0.04)


def test_uneven_classes_are_noted_above_ten_and_warned_of_above_a_hundred() -> None:
    assert check("uneven-classes", many({"a": 100, "b": 10})) is None
    assert found("uneven-classes", many({"a": 101, "b": 10})).severity == "note"
    finding = found("uneven-classes", many({"a": 1010, "b": 10, "c": 500}))
    assert finding.severity == "warning"
    assert str(finding.title) == "'a' has 101 times as many rows (1,010) as 'b' (10)"
    assert check("uneven-classes", many({"a": 1010, "b": 10}), FREE) is None


def test_seeded_damage_is_found_whole_and_nothing_else_is() -> None:
    random_ = random.Random(3)
    pairs = [(f"текст номер {i}", random_.choice("ab")) for i in range(500)]
    repeated, torn, empty = pairs[:10], pairs[10:17], [("", "a"), ("x y z", " ")]
    damage = [*repeated, *((text.upper(), "b" if gold == "a" else "a") for text, gold in torn), *empty]
    findings = {finding.check: finding for finding in run_audit(examples_of(*pairs, *damage), CLASSES)}
    assert findings["exact-duplicates"].drop == tuple(range(500, 510))
    assert set(findings["conflicting-labels"].rows) == {*range(10, 17), *range(510, 517)}
    assert findings["empty-fields"].drop == (517, 518)


def test_findings_count_their_rows() -> None:
    assert [share(range(1), range(n)).write() for n in (3, 10_000, 1)] == ["33.3%", "below 0.1%", "100%"]
    assert str(first_of([quote(name) for name in "a"])) == "'a'"
    assert str(first_of([quote(name) for name in "abcdefg"])) == "'a', 'b', 'c', 'd', 'e' and 2 more"
    rows = many({"a": 4})
    title = Message("{rows} {rows:row|rows} of {share}")
    data = Data(rows, CLASSES)
    finding = data.about("x", rows[:1], title, title, many=0.25)
    assert finding is not None and (str(finding.title), finding.severity) == ("1 row of 25%", "note")
    assert data.about("x", [], title, title) is None


@pytest.mark.parametrize(("other", "said"), [("good", ""), ("bad", ", 1 of them with another label")])
def test_a_text_that_nearly_repeats_an_earlier_one_is_shown_with_it_and_kept(other: str, said: str) -> None:
    text = "Тёплый и смешной фильм про двух старых друзей."
    clean = [("A dull film without a single joke.", "bad"), (text, "good"), (text.upper(), "good")]
    assert check("near-duplicates", examples_of(*clean)) is None
    finding = found("near-duplicates", examples_of(*clean, (text.replace("двух", "трёх"), other)))
    assert str(finding.title) == f"1 text (25%) nearly repeats an earlier one{said}"
    assert (finding.rows, finding.drop) == ((3,), ())
    assert [str(one).split(": ")[0] for one in finding.samples] == ["rows.csv:5 repeats rows.csv:3"]


def test_files_without_texts_or_answers_are_named_with_what_to_do() -> None:
    parts = {"train.csv": ("a text", "1"), "test.csv": ("a text", ""), "sample.csv": ("", "0")}
    examples = [
        Example(at, Place(name, at % 10 + 2), text and f"{text} {at}", gold)
        for at, (name, (text, gold)) in enumerate(part for part in parts.items() for _ in range(10))
    ]
    finding = found("incomplete-files", examples, CLASSES)
    assert str(finding.title) == "sample.csv has no texts, as a sample of a submission; test.csv has no answers"
    assert "leave sample.csv out" in str(finding.remedy) and "`kamerton predict RUN test.csv`" in str(finding.remedy)
    assert "name train.csv instead of the folder" in str(finding.remedy)
    assert check("incomplete-files", examples[:10], CLASSES) is None
    assert check("incomplete-files", examples[10:], CLASSES) is None
