"""Training only the rows of a table that are in use is training all of it, and leaves nothing behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    T5ForConditionalGeneration,
)

from kamerton.core import registry
from kamerton.core.contracts import Trainable
from kamerton.core.errors import RunError
from kamerton.core.records import Event, Saved, Started, Stepped
from kamerton.engine.checkpointing import recompute_layers
from kamerton.engine.layout import EncoderDecoder
from kamerton.engine.profile import profile_flops
from kamerton.engine.verify import prove_layout
from kamerton.runs.recipe import TrainSettings
from kamerton.train import loop as loop_module
from kamerton.train import used_rows
from kamerton.train.batches import UpdatePlan
from kamerton.train.checkpoint import latest_checkpoint
from kamerton.train.loop import Job, Validation, train
from kamerton.train.used_rows import UsedRows, only_used_rows, tokens_in_use
from table_cases import CASES, IDENTITY, STEPS, Case, case_of, job_of, labelled


@pytest.fixture
def make_case(encoder_folder, decoder_folder) -> Callable[..., Case]:
    """Make cases over the tiny models."""

    def make(word: str, dropout: float = 0.0) -> Case:
        return case_of(word, decoder_folder if word == "running text" else encoder_folder, dropout)

    return make


def scoring(case: Case) -> Callable[[], Validation]:
    """Validate by what the model gives, so that a training that goes on scores as an undisturbed one."""
    return lambda: Validation(1.0, {}, case.read(case.model).sum().item())


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    assert list(first) == list(second)
    return [name for name in first if not torch.equal(first[name], second[name])]


def is_plain(case: Case) -> bool:
    """Say whether nothing of a second table is left."""
    alone = {*vars(case.table), *dict(case.table.named_parameters()), *dict(case.table.named_buffers())}
    return type(case.table) is nn.Embedding and case.table.weight.requires_grad and not alone & {"rows", "places"}


def checkpoint_of(job: Job) -> dict[str, Tensor]:
    latest = latest_checkpoint(job.checkpoints, IDENTITY)
    return {f"{group}/{k}": v for group in ("weights", "optimizer", "random") for k, v in latest.tensors(group).items()}


@pytest.fixture
def saving_always(monkeypatch):
    """Make a checkpoint due after each update."""
    monkeypatch.setattr(loop_module, "SAVE_SECONDS", -1.0)


# ── exact ─────────────────────────────────────────────────────────────────────────────────────


def train_whole(case: Case, job: Job) -> None:
    """Train as the loop does, by torch's plain AdamW on the whole table."""
    whole = [p for p in case.model.parameters() if p.dim() >= 2 and not is_of_table(p, case.model)]
    rest = [p for p in case.model.parameters() if p.dim() < 2 or is_of_table(p, case.model)]
    groups = [{"params": whole, "weight_decay": job.settings.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    plan = UpdatePlan(len(case.rows), 2, 2, job.seed)
    for step in range(plan.updates):
        rows = sorted((case.rows[i] for i in plan.rows_of(step)), key=lambda row: len(row.tokens))
        logits = case.layout.logits(case.model.train(), [part for row in rows for part in row.sequences])
        loss = case.form.losses(logits.float(), rows).sum() / sum(map(case.form.supervised, rows))
        loss.backward()
        nn.utils.clip_grad_norm_(case.model.parameters(), job.settings.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = loop_module.learning_rate(step, plan.updates, job.settings)
        optimizer.step()
        optimizer.zero_grad()


def is_of_table(parameter: nn.Parameter, model: nn.Module) -> bool:
    return any(parameter is module.weight for module in model.modules() if isinstance(module, nn.Embedding))


@pytest.mark.parametrize("word", CASES)
def test_the_weights_are_those_that_training_the_whole_table_gives(make_case, tmp_path, word):
    case, other = make_case(word), make_case(word)
    job = job_of(case, tmp_path)
    seen = [type(case.table) for event in train(job) if isinstance(event, Stepped)]
    assert seen == [UsedRows] * STEPS
    train_whole(other, job)
    torch.testing.assert_close(copies(case.model), copies(other.model), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("word", CASES)
def test_rows_not_in_use_keep_every_bit_and_those_in_use_learn(make_case, tmp_path, word):
    case = make_case(word)
    before = case.table.weight.detach().clone()
    list(train(job_of(case, tmp_path)))
    changed = (case.table.weight != before).any(dim=1).nonzero()[:, 0].tolist()
    padding = {case.table.padding_idx} - {None}
    shown = {token for row in case.rows for part in row.sequences for token in part.tokens}
    assert shown - padding <= set(changed) <= tokens_in_use(case.model, case.rows) - padding
    assert len(case.unused) > len(before) / 2


def test_a_padded_row_has_the_padding_of_the_table_and_of_nothing_else(make_case, tmp_path):
    case = make_case("padded classes")
    with torch.no_grad():
        case.table.weight[case.table.padding_idx] = 1.0  # torch begins with zeros, which would hide a row of zeros
    list(train(job_of(case, tmp_path)))
    assert (case.table.weight[case.table.padding_idx] == 1.0).all()
    with only_used_rows(case.model, case.layout, case.rows, TrainSettings()):
        case.layout.logits(case.model.train(), case.rows).square().sum().backward()
        padding = case.table.places[case.table.padding_idx]
        assert not case.table.rows.grad[padding].any()
        assert case.table.rows.grad.any(dim=1).sum() == len(case.table.rows) - 1


def test_layers_that_are_computed_again_learn_the_same(make_case, tmp_path):
    first, second = make_case("classes", 0.1), make_case("classes", 0.1)
    recompute_layers(second.model, second.layout, second.rows[:3])
    for case, folder in ((first, "a"), (second, "b")):
        list(train(job_of(case, tmp_path / folder)))
    assert not differing(copies(first.model), copies(second.model))


# ── reading meanwhile ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("word", CASES)
def test_validation_reads_any_tokens_as_the_whole_table_has_them(make_case, tmp_path, word):
    case, read = make_case(word), []

    def validate() -> Validation:
        read.append((case.read(case.model), case.table.rows.detach().clone(), copies(case.model)))
        return Validation(1.0, {}, len(read))

    list(train(job_of(case, tmp_path, validate)))
    assert len(read) == 2
    for logits, rows, weights in read:
        plain = make_case(word).model
        plain.load_state_dict(weights, strict=False)
        with torch.no_grad():
            plain.get_input_embeddings().weight[sorted(tokens_in_use(plain, case.rows))] = rows
        torch.testing.assert_close(case.read(plain), logits, rtol=0, atol=0)


def test_a_table_that_is_asked_for_other_tokens_than_the_rows_hold_stays_whole():
    table, known = nn.Embedding(10, 2), torch.tensor([1, 2])
    assert used_rows._looks_up(table, known, lambda: table(torch.tensor([[2, 1, 1]])))
    assert not used_rows._looks_up(table, known, lambda: table(torch.tensor([[7, 1, 2]])))  # CPM-Ant's own are ahead


def test_a_token_that_no_row_holds_is_never_trained_on(make_case):
    case = make_case("classes")
    strange = replace(case.rows[0], tokens=(*case.rows[0].tokens, case.unused[0]))
    with only_used_rows(case.model, case.layout, case.rows, TrainSettings()):
        with pytest.raises(IndexError, match=f"token {case.unused[0]} is trained on"):
            case.layout.logits(case.model.train(), [strange])
        case.layout.logits(case.model.eval(), [strange])


# ── nothing is left ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("word", CASES)
def test_the_model_is_plain_again_and_is_saved_as_ever(make_case, tmp_path, word):
    case = make_case(word)
    names, state = list(copies(case.model)), list(case.model.state_dict())
    case.model.save_pretrained(tmp_path / "before")
    list(train(job_of(case, tmp_path / "checkpoints")))
    assert is_plain(case)
    assert (list(copies(case.model)), list(case.model.state_dict())) == (names, state)
    case.model.save_pretrained(tmp_path / "after")
    before, after = (load_file(tmp_path / when / "model.safetensors") for when in ("before", "after"))
    assert {name: weight.shape for name, weight in before.items()} == {n: weight.shape for n, weight in after.items()}
    loaded = type(case.model).from_pretrained(tmp_path / "after")
    torch.testing.assert_close(case.read(loaded), case.read(case.model), rtol=0, atol=0)


def test_who_breaks_off_has_a_plain_model_with_what_was_learnt(make_case, tmp_path):
    case, rows = make_case("classes"), []
    for event in train(job_of(case, tmp_path)):
        if isinstance(event, Stepped) and event.step == 2:
            rows.append(case.table.rows.detach().clone())
            break
    assert is_plain(case)
    assert torch.equal(case.table.weight[sorted(tokens_in_use(case.model, case.rows))], rows[0])


def test_an_error_leaves_a_plain_model_with_what_was_learnt(make_case, tmp_path):
    case, rows = make_case("classes"), []

    def validate() -> Validation:
        rows.append(case.table.rows.detach().clone())
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        list(train(job_of(case, tmp_path, validate)))
    assert is_plain(case)
    assert torch.equal(case.table.weight[sorted(tokens_in_use(case.model, case.rows))], rows[0])


def test_an_error_of_who_listens_leaves_a_plain_model(make_case, tmp_path):
    case = make_case("classes")

    def listen() -> None:
        for event in train(job_of(case, tmp_path)):
            if isinstance(event, Stepped):
                raise OSError("the pipe is broken")

    with pytest.raises(OSError, match="broken"):
        listen()
    assert is_plain(case)


def test_weights_are_counted_and_their_change_is_measured_on_the_whole_table(make_case, tmp_path, monkeypatch):
    told: list[list[Event]] = []
    for folder, share in (("a", used_rows.SHARE), ("b", 0.0)):
        monkeypatch.setattr(used_rows, "SHARE", share)
        told.append(list(train(job_of(make_case("classes"), tmp_path / folder))))
    [parted, whole] = told
    assert isinstance(parted[0], Started)
    assert parted[0] == whole[0]
    assert parted[0].trainable_parameters == make_case("classes").model.num_parameters()
    assert parted[-1].weight_change == pytest.approx(whole[-1].weight_change, rel=1e-4)


# ── checkpoints ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("word", CASES)
def test_going_on_from_any_step_ends_with_the_same_bits(make_case, saving_always, tmp_path, word):
    case = make_case(word, 0.1)
    undisturbed = job_of(case, tmp_path / "whole", scoring(case))
    for event in train(undisturbed):
        if isinstance(event, Saved):
            shutil.copytree(undisturbed.checkpoints, tmp_path / f"after-{event.step}")
    for step in range(1, STEPS):
        case = make_case(word, 0.1)
        job = job_of(case, tmp_path / f"after-{step}", scoring(case))
        assert [event.step for event in train(job) if isinstance(event, Stepped)] == list(range(step + 1, STEPS + 1))
        assert not differing(checkpoint_of(undisturbed), checkpoint_of(job))
        assert not differing(copies(undisturbed.model), copies(job.model))


def test_a_checkpoint_holds_the_rows_in_use_and_no_others(make_case, saving_always, tmp_path):
    case = make_case("classes")
    job = job_of(case, tmp_path)
    list(train(job))
    held, used = checkpoint_of(job), len(tokens_in_use(case.model, case.rows))
    tables = {name: value for name, value in held.items() if "word_embeddings" in name}
    assert {name.rsplit(".", 1)[1] for name in tables} == {"rows", "rows/exp_avg", "rows/exp_avg_sq", "rows/step"}
    assert {len(value) for value in tables.values() if value.dim()} == {used}


def test_the_best_rows_are_kept(make_case, tmp_path):
    case, rows, scores = make_case("classes"), [], iter((2.0, 1.0))

    def validate() -> Validation:
        rows.append(case.table.rows.detach().clone())
        return Validation(1.0, {}, next(scores))

    list(train(job_of(case, tmp_path, validate)))
    used = sorted(tokens_in_use(case.model, case.rows))
    assert torch.equal(case.table.weight[used], rows[0])
    assert not torch.equal(rows[0], rows[1])


def leave_after_two(job: Job) -> None:
    for event in train(job):
        if isinstance(event, Saved) and event.step == 2:
            break


def test_a_checkpoint_of_other_rows_in_use_is_refused(make_case, saving_always, tmp_path):
    case = make_case("classes")
    leave_after_two(job_of(case, tmp_path))
    other = make_case("classes")
    first = other.rows[0]  # as many tokens in use as before, one of them another
    used = {token for row in other.rows[1:] for token in row.tokens}
    place = next(at for at, token in enumerate(first.tokens) if token not in used and first.tokens.count(token) == 1)
    other.rows[0] = replace(first, tokens=(*first.tokens[:place], case.unused[0], *first.tokens[place + 1 :]))
    with pytest.raises(RunError, match="the run's tokens in use changed since its checkpoint"):
        list(train(job_of(other, tmp_path)))
    assert is_plain(other)


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.5), (0.5, 0.0)])
def test_a_checkpoint_of_the_whole_table_and_one_of_rows_are_not_mistaken_for_each_other(
    make_case, saving_always, tmp_path, monkeypatch, before, after
):
    monkeypatch.setattr(used_rows, "SHARE", before)
    leave_after_two(job_of(make_case("classes"), tmp_path))
    monkeypatch.setattr(used_rows, "SHARE", after)
    case = make_case("classes")
    with pytest.raises(RunError, match=r"tokens in use changed|other weights than those that train"):
        list(train(job_of(case, tmp_path)))
    assert is_plain(case)


# ── where it would not be exact ───────────────────────────────────────────────────────────────


def stays_whole(case: Case, **settings: object) -> bool:
    """Say whether the table trains as it is."""
    with only_used_rows(case.model, case.layout, case.rows, TrainSettings.model_validate(settings)) as belongs:
        return not belongs and not any(isinstance(module, UsedRows) for module in case.model.modules())


def test_an_output_head_that_shares_the_table_keeps_it_whole(make_case, encoder_folder, seq2seq_folder):
    masked, written = make_case("hidden tokens"), make_case("rewriting")
    tied = BertForMaskedLM(BertConfig.from_pretrained(encoder_folder))
    assert not stays_whole(masked)
    assert stays_whole(replace(masked, model=tied))
    t5 = T5ForConditionalGeneration.from_pretrained(seq2seq_folder)
    rows = [replace(row, tokens=(5, 6, 7), output_positions=(0,), targets=(8,)) for row in written.rows]
    assert stays_whole(Case(t5, EncoderDecoder(), written.form, rows))


def test_a_head_that_multiplies_by_the_table_without_holding_it_keeps_it_whole(make_case):
    """Nothing of the model's structure tells; training the rows alone would lose the head's gradient."""
    masked = make_case("hidden tokens")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = DebertaV2Config(vocab_size=masked.table.num_embeddings, legacy=False, **sizes)
    model = DebertaV2ForMaskedLM(config)
    layout = prove_layout(model, lambda way: way.logits(model, masked.rows[:3]))
    case = replace(masked, model=model, layout=layout)
    assert len(case.unused) > case.table.num_embeddings / 2
    assert stays_whole(case)
    assert is_plain(case)


def test_tables_that_do_more_than_look_up_stay_whole(make_case):
    for name, value in (("scale_grad_by_freq", True), ("max_norm", 1.0), ("sparse", True)):
        case = make_case("classes")
        vars(case.table)[name] = value
        assert stays_whole(case), name
    case = make_case("classes")
    case.table.__class__ = type("Scaled", (nn.Embedding,), {})
    assert stays_whole(case)


def test_a_table_of_which_much_is_in_use_stays_whole(make_case):
    case = make_case("classes")
    half = list(range(case.table.num_embeddings // 2))
    for tokens, whole in ((half, True), (half[:-1], False)):
        rows = labelled([tokens[at : at + 100] for at in range(0, len(tokens), 100)])
        assert stays_whole(replace(case, rows=rows)) == whole


@pytest.mark.parametrize("word", ["head", "last-layers", "lora"])
def test_a_table_that_does_not_train_stays_as_it_is(make_case, word):
    case = make_case("classes")
    model = registry.choose("methods", word)().attach(case.model, ("classifier",))
    trains = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    with only_used_rows(model, case.layout, case.rows, TrainSettings()) as belongs:
        assert not belongs
        assert trains == [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def test_new_tokens_of_an_adapter_train_as_peft_has_them(make_case):
    case = make_case("classes")
    model = registry.choose("methods", "lora")().attach(case.model, ("classifier",), (case.unused[0],))
    with only_used_rows(model, case.layout, case.rows, TrainSettings()) as belongs:
        assert not belongs
        assert not any(isinstance(module, UsedRows) for module in model.modules())


def test_parting_draws_nothing_and_leaves_the_mode_as_it_was(make_case):
    case = make_case("classes", 0.5)
    for training in (True, False):
        case.model.train(training)
        before = torch.get_rng_state()
        assert not stays_whole(case)
        assert torch.equal(torch.get_rng_state(), before)
        assert case.model.training == training


# ── optimizers ────────────────────────────────────────────────────────────────────────────────

USED = [3, 4, 170, 600, 999]
"""Rows of a table of 1,000."""


def updated(word: str, table: Tensor, gradients: Sequence[Tensor]) -> list[Tensor]:
    """Give a table, a matrix and a bias after some updates; the last two see the same gradients each time."""
    chance = torch.Generator().manual_seed(1)
    weights = [nn.Parameter(table.clone()), nn.Parameter(torch.ones(24, 16)), nn.Parameter(torch.ones(24))]
    [embedded, matrix, bias] = weights
    optimizer = registry.choose("optimizers", word)().make(Trainable([matrix], [bias, embedded], 0.1), 1e-2)
    for gradient in gradients:
        embedded.grad = gradient
        for other in (matrix, bias):
            other.grad = torch.randn(other.shape, generator=chance)
        optimizer.step()
    return [weight.detach() for weight in weights]


def with_and_without(word: str) -> bool:
    """Say whether rows without gradient stay as they are, and all else comes to the same when they are left out."""
    chance = torch.Generator().manual_seed(0)
    table = torch.randn(1000, 16, generator=chance)
    gradients = [torch.randn(len(USED), 16, generator=chance) for _ in range(5)]
    whole = [torch.zeros_like(table).index_copy(0, torch.tensor(USED), gradient) for gradient in gradients]
    [all_rows, *others] = updated(word, table, whole)
    [some_rows, *same_others] = updated(word, table[USED], gradients)
    unused = [row for row in range(len(table)) if row not in USED]
    return (
        torch.equal(all_rows[unused], table[unused])
        and torch.allclose(all_rows[USED], some_rows, rtol=1e-6, atol=1e-7)
        and all(torch.equal(one, other) for one, other in zip(others, same_others, strict=True))
    )


@pytest.mark.parametrize("word", registry.names("optimizers"))
def test_optimizers_say_truly_whether_rows_without_gradient_can_be_left_out(word):
    assert with_and_without(word) == registry.choose("optimizers", word).leaves_untouched


@pytest.mark.parametrize("word", registry.names("optimizers"))
def test_a_table_is_parted_only_for_an_optimizer_that_leaves_the_others_untouched(make_case, word):
    assert stays_whole(make_case("classes"), optimizer=word) != registry.choose("optimizers", word).leaves_untouched


# ── the cost estimate ──────────────────────────────────────────────────────────────────────────


def test_only_what_trains_is_gauged(make_case):
    case = make_case("classes")
    whole = profile_flops(case.model, case.layout, case.form, case.rows[:2])
    with only_used_rows(case.model, case.layout, case.rows, TrainSettings()):
        parted = profile_flops(case.model, case.layout, case.form, case.rows[:2])
    assert whole.trainable - parted.trainable == len(case.unused) * case.table.embedding_dim
    assert (parted.per_token, parted.per_output) == (whole.per_token, whole.per_output)
