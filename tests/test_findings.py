"""Faults are planted, and the checks find them: the small sisters of `make bench-audits`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from kamerton.core import registry
from kamerton.core.contracts import AuditContext
from kamerton.core.records import Example, Finding, Place
from kamerton.data.audit import run_audit
from kamerton.plugins.audits._confident import confident_joint, probable_errors
from kamerton.text.language_id import language_of
from kamerton.text.pii import find_private, is_card, is_inn, is_snils, mask
from kamerton.text.repair import damage_by, damage_of, mend, neat

CLASSES = AuditContext(stratified=True, lengths=None, max_tokens=None, answers="class")
WRITTEN = AuditContext(stratified=False, lengths=None, max_tokens=None, answers="text")
WORDS = {
    "повар": "суп соль варить нож плита тесто масло перец сковорода мука обед рецепт сахар кухня духовка",
    "моряк": "море парус якорь волна шторм берег лодка компас мачта канат прилив палуба шлюпка маяк рейд",
    "pilot": "plane wing runway cloud engine takeoff landing radar cockpit altitude fuel airport wind tower flight",
}
RUSSIAN = ("Это был очень хороший день, и мы пошли гулять.", "Совсем не понравилось, больше не приду", "Привет, мир!")


def rows_of(size: int, seed: int = 0) -> list[Example]:
    """Sentences of three professions, in no order, each of eight words of its own and two of anybody's."""
    draw = random.Random(seed)
    everybody = " ".join(WORDS.values()).split()
    examples = []
    for i in range(size):
        gold = draw.choice(list(WORDS))
        words = draw.choices(WORDS[gold].split(), k=8) + draw.choices(everybody, k=2)
        draw.shuffle(words)
        examples.append(Example(i, Place("rows.csv", i + 2), " ".join(words), gold))
    return examples


def changed(examples: Sequence[Example], places: Sequence[int], text: Callable[[str], str]) -> list[Example]:
    wanted = set(places)
    return [Example(e.id, e.place, text(e.text), e.gold) if e.id in wanted else e for e in examples]


def found(word: str, examples: Sequence[Example], context: AuditContext = CLASSES) -> Finding:
    finding: Finding | None = registry.choose("audits", word)().check(examples, context)
    assert finding is not None
    return finding


def missing(word: str, examples: Sequence[Example], context: AuditContext = CLASSES) -> bool:
    return registry.choose("audits", word)().check(examples, context) is None


# ── wrong labels ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_flipped_labels_are_found(share: float) -> None:
    examples, draw = rows_of(400), random.Random(1)
    flipped = set(draw.sample(range(400), round(400 * share)))
    wrong = [
        Example(e.id, e.place, e.text, draw.choice([g for g in WORDS if g != e.gold])) if e.id in flipped else e
        for e in examples
    ]
    finding = found("wrong-labels", wrong)
    right = flipped & set(finding.rows)
    assert len(right) >= 0.8 * len(flipped) and len(right) >= 0.5 * len(finding.rows)
    assert finding.drop == () and "likelier" in str(finding.samples[0])
    assert finding.rows[0] in flipped, "the likeliest error comes first"


def test_labels_that_nothing_tells_are_not_called_wrong() -> None:
    draw = random.Random(0)
    noise = [Example(e.id, e.place, e.text, draw.choice("ab")) for e in rows_of(200)]
    assert missing("wrong-labels", noise)
    assert missing("wrong-labels", rows_of(400), WRITTEN)


def test_a_classifier_that_is_mostly_wrong_is_not_believed() -> None:
    """Texts of 80 rows hardly tell their four labels: whatever it contradicts are its own errors."""
    draw = random.Random(2)
    doubtful = [
        Example(e.id, e.place, " ".join(draw.choices(e.text.split(), k=2) + [str(draw.random())] * 4), e.gold)
        for e in rows_of(80)
    ]
    names = {gold: f"{gold} {draw.choice('ab')}" for gold in WORDS}
    four = [Example(e.id, e.place, e.text, draw.choice([e.gold, names[e.gold]])) for e in doubtful]
    assert missing("wrong-labels", four)


def test_one_label_in_two_spellings_is_not_called_wrong() -> None:
    spelled = [Example(e.id, e.place, e.text, e.gold.title() if e.id % 3 == 0 else e.gold) for e in rows_of(300)]
    assert missing("wrong-labels", spelled)
    wrong = [Example(e.id, e.place, e.text, "pilot" if e.id == 7 else e.gold) for e in rows_of(300)]
    one = registry.choose("audits", "wrong-labels")().check(wrong, CLASSES)
    assert one is None or " labels (" in str(one.title)


def test_an_encoder_is_asked_where_one_is_chosen() -> None:
    """Texts say nothing here, embeddings everything: only through them can the flips be found."""
    points, labels = make_blobs(300, 8, centers=2, cluster_std=1.0, random_state=0)
    golds = ["ab"[label] for label in labels]
    flipped = set(range(0, 300, 15))
    examples = [
        Example(i, Place("f", i), f"x{i} y{i}", gold if i not in flipped else "ab"["ba".index(gold)])
        for i, gold in enumerate(golds)
    ]

    def embed(asked: Sequence[Example]) -> np.ndarray:
        return np.asarray(points[[example.id for example in asked]])

    finding = found("wrong-labels", examples, AuditContext(True, None, None, embed=embed))
    assert flipped <= set(finding.rows) and len(finding.rows) < 2 * len(flipped)


def test_the_confident_joint_is_the_papers_worked_by_hand() -> None:
    chances = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7], [0.6, 0.4]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    # thresholds: mean(.9, .8, .2) = .633 and mean(.9, .7, .4) = .667; rows 0, 1 → 0; 2, 3, 4 → 1; 5 → neither
    counts = np.array([[2.0, 1.0], [0.0, 2.0]])
    assert np.allclose(confident_joint(chances, labels), counts * np.array([[3 / 3], [3 / 2]]))
    assert probable_errors(chances, labels).tolist() == [2]


# ── encodings, spaces, HTML ───────────────────────────────────────────────────────────────────

MISREADINGS = [
    (truly, read)
    for truly, read in [
        ("utf-8", "cp1252"), ("utf-8", "latin-1"), ("utf-8", "cp1251"), ("utf-8", "koi8-r"), ("utf-8", "cp866"),
        ("cp1251", "latin-1"), ("cp1251", "koi8-r"), ("cp1251", "cp866"), ("koi8-r", "latin-1"), ("koi8-r", "cp1251"),
        ("cp866", "cp1251"),
    ]
]  # fmt: skip


def misread(text: str, truly: str, read: str) -> str:
    """Read bytes in a wrong encoding; a byte that it lacks becomes a control character, as browsers do it."""
    return "".join(bytes([byte]).decode(read, "ignore") or chr(byte) for byte in text.encode(truly))


@pytest.mark.parametrize(("truly", "read"), MISREADINGS)
def test_a_wrong_reading_is_known_and_undone(truly: str, read: str) -> None:
    for text in RUSSIAN:
        broken = misread(text, truly, read)
        mended = mend(broken)
        assert mended is not None and mended.text == text, broken
        assert damage_of(text) is None


def test_damage_done_twice_is_undone_twice() -> None:
    twice = misread(misread("Привет, мир", "utf-8", "latin-1"), "utf-8", "latin-1")
    mended = mend(twice)
    assert mended is not None and mended.text == "Привет, мир" and str(damage_by(mended.steps)).count("UTF-8") == 2


@pytest.mark.parametrize(
    "text",
    ["café déjà vu", "“quoted” – naïve…", "Über große Straßen", "Tiếng Việt rất đẹp", "日本語", "Їжак і її друзі",
     "ЖЭК № 5 — ВЦИОМ", "10 °C ± 5 µm", "Сидел и смотрел: «Да»…", "Ђорђе Љубић", "ПРИВЕТ ВСЕМ", "Что??? Как???"],
)  # fmt: skip
def test_real_letters_of_many_languages_are_left_alone(text: str) -> None:
    assert damage_of(text) is None and neat(text)[0] == text


def test_lost_letters_are_counted_and_not_invented() -> None:
    for text in ("???? ????? ??", "при\ufffdет"):
        assert str(damage_of(text)) == "letters lost in reading"
        assert mend(text) is None
    broken = changed(rows_of(100), range(5), lambda text: misread(text, "utf-8", "cp1251"))
    pilots = {e.id for e in rows_of(100) if e.text.isascii()}
    assert set(found("damaged-encoding", broken).rows) == set(range(5)) - pilots


def test_what_is_tidied_keeps_its_words_and_its_indentation() -> None:
    assert neat("Fish &amp; chips\u200b\u00a0for &#8364;5 \r\n")[0] == "Fish & chips for €5"
    assert neat("    def f():\n        return 1\n")[0] == "    def f():\n        return 1"
    assert neat("👩‍👩‍👧 family") == neat("👩‍👩‍👧 family") and neat("👩‍👩‍👧")[0] == "👩‍👩‍👧"
    assert neat("a < b && c > d; R&D; AT&T")[1] == []


# ── private data ──────────────────────────────────────────────────────────────────────────────

PRIVATE = {
    "e-mail": ["ann.lee+x@mail.example.org", "иван@почта.рф"],
    "phone": ["+7 (912) 345-67-89", "8 912 345 67 89", "89123456789", "(415) 555-2671", "+44 20 7946 0958"],
    "card": ["4111 1111 1111 1111", "5555-5555-5555-4444", "2200123456789019"],
    "SNILS": ["112-233-445 95"],
    "INN": ["ИНН 7707083893", "ИНН 500100732259"],
    "IBAN": ["DE89 3704 0044 0532 0130 00"],
    "passport": ["паспорт 4509 123456"],
    "key": ["AKIAIOSFODNN7EXAMPLE", "ghp_" + "a1B2" * 9, "sk-proj-" + "Zx9_" * 8, "-----BEGIN RSA PRIVATE KEY-----"],
    "password": ["password: hunter2secret", "postgres://bob:s3cret@db.example.org"],
}
HARMLESS = [
    "4111 1111 1111 1112", "112-233-445 96", "ИНН 7707083894", "2024-01-02 10:11:12", "version 1.2.3.4.5.6.7.8.9.10",
    "1234567890123", "@anonymous said so", "the password is secret", "user@host", "3.14159265358979323846",
]  # fmt: skip


@pytest.mark.parametrize("kind", PRIVATE)
def test_each_kind_of_private_data_is_found_and_masked(kind: str) -> None:
    for secret in PRIVATE[kind]:
        text = f"Пишу вам: {secret}, спасибо."
        assert [one.kind for one in find_private(text)] == [kind], secret
        assert secret[4:] not in mask(text) and mask(text).endswith(", спасибо.")


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_that_only_look_private_are_left(text: str) -> None:
    assert find_private(text) == [] and mask(text) == text


def test_checksums_let_one_number_of_many_pass() -> None:
    numbers = [f"{number:016d}" for number in range(4000_0000_0000_0000, 4000_0000_0000_1000)]
    assert sum(map(is_card, numbers)) == 100
    assert sum(is_inn(f"{number:010d}") for number in range(7707083000, 7707084000)) == pytest.approx(100, abs=10)
    assert sum(is_snils(f"112233445{number:02d}") for number in range(100)) == 1


def test_private_data_are_never_shown_by_any_finding() -> None:
    secrets = [PRIVATE[kind][0] for kind in PRIVATE]
    planted = [
        Example(i, Place("f", i), f"{e.text} {secrets[i % len(secrets)]}", e.gold) for i, e in enumerate(rows_of(90))
    ]
    shown = "\n".join(str(sample) for finding in run_audit(planted, CLASSES) for sample in finding.samples)
    assert shown and not any(secret in shown for secret in secrets)
    assert found("leaked-secrets", planted).severity == "severe"


# ── what gives the answer away ────────────────────────────────────────────────────────────────


def test_labels_pasted_into_texts_are_severe_and_topics_named_in_passing_are_not() -> None:
    pasted = [Example(e.id, e.place, f"{e.gold}: {e.text}", e.gold) for e in rows_of(200)]
    assert found("label-in-text", pasted).severity == "severe"
    some = [Example(e.id, e.place, f"{e.gold} {e.text}" if e.id % 10 == 0 else e.text, e.gold) for e in rows_of(200)]
    finding = found("label-in-text", some)
    assert finding.severity == "note" and set(finding.rows) == set(range(0, 200, 10))
    assert missing("label-in-text", rows_of(200))


def test_columns_that_tell_the_label_are_named_and_others_are_not() -> None:
    examples = sorted(rows_of(300), key=lambda e: e.gold)
    columns = {
        "source": [f"{e.gold[:2]}_{i}" for i, e in enumerate(examples)],
        "number": list(range(300)),
        "coin": [i % 2 for i in range(300)],
        "uuid": [f"{random.Random(i).random():.17f}" for i in range(300)],
    }
    title = str(found("revealing-columns", examples, AuditContext(True, None, None, columns=columns)).title)
    assert "'source'" in title and "'number'" in title and "'coin'" not in title and "'uuid'" not in title
    assert found("row-order", examples).severity == "note"
    assert missing("row-order", rows_of(300))


def test_leaks_between_given_parts_are_found_by_text_by_likeness_and_by_author() -> None:
    examples = rows_of(200)
    parts = ["train"] * 100 + ["validation"] * 50 + ["test"] * 50
    examples[150:160] = [Example(e.id + 150, e.place, e.text, e.gold) for e in examples[:10]]
    examples[160:165] = [Example(e.id + 140, e.place, f"{e.text}!", e.gold) for e in examples[20:25]]
    finding = found("split-leaks", examples, AuditContext(True, None, None, parts=parts))
    assert set(finding.rows) == set(range(150, 165)) and finding.severity == "warning"
    assert "15 tested rows (15%) repeat rows of an earlier part, 5 of them with small changes" in str(finding.title)
    assert missing("split-leaks", examples)
    authors = {"author_id": ["ann" if i in (3, 170) else None if i % 2 else str(i) for i in range(200)]}
    context = AuditContext(True, None, None, columns=authors, parts=parts)
    assert "'author_id'" in str(found("split-leaks", rows_of(200), context).title)


# ── rows that do not belong ───────────────────────────────────────────────────────────────────


def test_rows_of_another_world_are_outliers() -> None:
    examples = changed(rows_of(200), [7, 90], lambda text: "zxq qwv brrt glorp fnord blivet" + text[:0])
    examples[90] = Example(90, examples[90].place, "виагра кредит казино выигрыш рассрочка скидка", "повар")
    assert set(found("outliers", examples).rows) == {7, 90}
    assert missing("outliers", rows_of(200))


def test_placeholders_and_unfilled_templates_are_found() -> None:
    texts = [
        "N/A",
        "нет данных",
        "lorem ipsum dolor",
        "Dear [Your Name], hello",
        "Вставьте сюда текст",
        "{{ user.name }} пишет",
    ]
    planted = [Example(i, Place("f", i), text, "x") for i, text in enumerate(texts)]
    rest = [Example(e.id + 10, e.place, e.text, e.gold) for e in rows_of(50)]
    assert found("placeholder-rows", [*planted, *rest]).rows == tuple(range(len(texts)))
    links = [Example(0, Place("f", 0), "see [name](http://x.org), {count} rows, no comment on that film", "x")]
    assert missing("placeholder-rows", links)


def test_rows_of_one_template_are_found_and_plain_numbers_are_not() -> None:
    made = [Example(i, Place("f", i), f"Заказ {i * 37} отправлен в 10:{i + 10}", "x") for i in range(8)]
    assert str(found("template-rows", [*made, *rows_of(20)]).title).startswith("8 rows")
    assert missing("template-rows", [Example(i, Place("f", i), f"{i} + {i}", "x") for i in range(20)])


def test_languages_are_told_and_disguised_letters_found() -> None:
    samples = {
        "English": "This is the first of the letters that you have",
        "Russian": "Мы пошли гулять", "Chinese": "我们去散步",
        "German": "Das ist nicht die Frage und es wird auch nicht",
        "Ukrainian": "Ми їхали до Києва", "Japanese": "散歩に行きました",
        "French": "Les enfants sont dans la maison et il est pour nous", "": "4520 N. State Rd",
    }  # fmt: skip
    assert {language_of(text): text for text in samples.values()} == samples
    foreign = [
        Example(1000, Place("f", 1), samples["English"], "x"),
        Example(1001, Place("f", 2), "хоpoший пoвар", "x"),
    ]
    sailors = [e for e in rows_of(300) if not e.text.isascii() and language_of(e.text) == "Russian"]
    assert set(found("mixed-languages", [*sailors, *foreign]).rows) >= {1000, 1001}


def test_answers_that_copy_or_circle_are_found_where_answers_are_written() -> None:
    def written(pairs: Sequence[tuple[str, str]]) -> list[Example]:
        return [
            Example(i, Place("f", i), text, gold, {"instruction": text, "input": "", "output": gold})
            for i, (text, gold) in enumerate(pairs)
        ]

    good = [(e.text, " ".join(reversed(e.text.split()))) for e in rows_of(40)]
    copies = written(
        [
            *good,
            ("Повтори это", "повтори  это"),
            ("Назови столицу большой страны", "Назови столицу большой страны: Москва"),
        ]
    )
    assert found("copied-input", copies, WRITTEN).rows == (40, 41)
    circling = written([*good, ("вопрос", "и снова то же самое " * 12)])
    assert found("repetitive-answers", circling, WRITTEN).rows == (40,)
    stock = written([*good, *((f"вопрос {i}", "Извините, я не могу помочь.") for i in range(10))])
    assert found("repetitive-answers", stock, WRITTEN).rows == tuple(range(40, 50))
    for word in ("copied-input", "repetitive-answers"):
        assert missing(word, written(good), WRITTEN) and missing(word, copies, CLASSES)


def test_html_and_invisible_signs_are_found_and_mathematics_is_not() -> None:
    texts = ["<br>текст", "Tom &amp; Jerry", "a\u200bb", "a < b and b > c", "x<y>z", "R&D; AT&T"]
    examples = [Example(i, Place("f", i), text, "x") for i, text in enumerate(texts)]
    assert found("html-remains", examples).rows == (0, 1)
    assert found("stray-signs", examples).rows == (2,)


def test_clean_rows_have_nothing_severe() -> None:
    assert {finding.severity for finding in run_audit(rows_of(400), CLASSES)} <= {"note", "warning"}


def saying(*texts: str) -> list[Example]:
    return [Example(at, Place("rows.csv", at + 2), text, "ab"[at % 2]) for at, text in enumerate(texts)]


def test_what_a_spreadsheet_damaged_is_found_in_any_text_of_a_row() -> None:
    damaged = ["#NAME?", " #ССЫЛКА! ", "1.23457E+11", "4,56789E+15", "########", "Err:502", "#Н/Д"]
    whole = ["#metoo matters", "E+ is a grade", "the cell says #REF! to me", "12", "1E5", "a #1 film", "PIECE"]
    finding = found("damaged-cells", saying(*damaged, *whole))
    assert finding.rows == (0, 1, 4, 5, 6, 2, 3) and "failed formulas in 5, shortened numbers in 2" in str(
        finding.title
    )
    assert missing("damaged-cells", saying(*whole))


def test_texts_that_all_end_at_one_length_were_cut() -> None:
    cell = found("cut-texts", saying("x" * 32_767, "a longer story. " * 3000, "short"))
    assert cell.rows == (0,) and "32,767" in str(cell.title)
    cut = [f"{at} {'word ' * 60}"[:255] for at in range(9)]
    assert found("cut-texts", saying(*cut, *(f"text {at}" for at in range(50)))).rows == tuple(range(9))
    sentences = [f"{at} {'word ' * 60}"[:254] + "." for at in range(9)]
    assert missing("cut-texts", saying(*sentences)) and missing("cut-texts", saying(*cut[:4], "text"))
