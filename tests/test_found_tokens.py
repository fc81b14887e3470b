"""New tokens are proposed where a language costs many tokens, by what they save in other texts."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import pytest
from tokenizers import AddedToken

from kamerton.models.load import load_tokenizer
from kamerton.session.new_tokens import MET, find_new_tokens, new_tokens_finding
from tiny_engines import facts_of

ВЕЩИ = ["подоконник", "картина", "лестница", "занавеска", "чашка", "скатерть", "фонарь", "крыльцо", "чердак"]
ДЕЛА = ["упала", "стояла", "висела", "сломалась", "нашлась", "потерялась", "блестела", "скрипела"]


def russian(count: int) -> list[str]:
    draw = random.Random(0)
    return [f"Там {draw.choice(ВЕЩИ)} и {draw.choice(ВЕЩИ)} {draw.choice(ДЕЛА)}." for _ in range(count)]


def test_what_new_tokens_save_is_what_the_tokenizer_with_them_does(decoder_folder: Path) -> None:
    facts, texts = facts_of(decoder_folder), russian(300)
    tokenizer = load_tokenizer(facts)
    found = find_new_tokens(texts, facts, tokenizer)
    assert found is not None
    larger = copy.deepcopy(tokenizer)
    larger.add_tokens([AddedToken(token, single_word=False) for token in found.tokens])
    unseen = texts[1::2]
    before, after = (sum(len(t(x, add_special_tokens=False)["input_ids"]) for x in unseen) for t in (tokenizer, larger))
    assert found.best.saved == pytest.approx(1 - after / before)
    assert found.best.work == pytest.approx(
        1 - after / before * (1 + found.best.tokens * facts.hidden / facts.parameters)
    )
    assert found.best.parameters == found.best.tokens * facts.hidden
    assert found.best.work == max(size.work for size in found.sizes)


def test_every_new_token_begins_a_word_and_is_met_often(decoder_folder: Path) -> None:
    facts, texts = facts_of(decoder_folder), russian(300)
    found = find_new_tokens(texts, facts, load_tokenizer(facts))
    assert found is not None and set(found.tokens) & {f" {word}" for word in (*ВЕЩИ, *ДЕЛА)}
    seen = "\n".join(texts[::2])
    assert all(token.startswith(" ") and seen.count(token) >= MET for token in found.tokens)


def test_texts_that_the_vocabulary_is_made_for_or_too_few_of_them_need_no_new_tokens(decoder_folder: Path) -> None:
    facts = facts_of(decoder_folder)
    assert find_new_tokens(russian(6), facts, load_tokenizer(facts)) is None
    assert find_new_tokens([], facts, load_tokenizer(facts)) is None


def test_the_finding_names_the_command_and_the_setting(decoder_folder: Path) -> None:
    facts = facts_of(decoder_folder)
    found = find_new_tokens(russian(300), facts, load_tokenizer(facts))
    assert found is not None
    finding = new_tokens_finding(found, "rows.jsonl", "decoder")
    assert "`kamerton plan rows.jsonl --model decoder --new-tokens tokens.txt`" in str(finding.remedy)
    assert "--set model.new_tokens=tokens.txt" in str(finding.remedy)
    assert f"{found.best.tokens} new tokens" in str(finding.title)
