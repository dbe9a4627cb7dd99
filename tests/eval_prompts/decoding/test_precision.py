"""Which precision answers: as wished, as the machine can, and as far from fp32 as is allowed."""

from __future__ import annotations

import copy

import pytest
import torch

from eval_prompts.answers import Settings
from eval_prompts.decoding.choice import OPTIONS_ROUNDED, make_backend
from eval_prompts.decoding.layers.quantized_linear import processor_can_group
from eval_prompts.decoding.pair_decoder import PairDecoder
from eval_prompts.models.pair import load_pair
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from tests.benchmarks.fidelity import Scores, compare, gap_change, held_out, scores
from tests.eval_prompts.models.random_adapter import random_adapter
from tests.tuning.rows import encoded
from tuning.errors import UserError
from tuning.models.device import has_bf16, pick_device
from tuning.models.weights import resolve

SIDES = ("base", "tuned")
needs_int8 = pytest.mark.skipif(
    not processor_can_group(torch.device("cpu")), reason="this processor has no fast int8 products"
)


@pytest.fixture(scope="module")
def blocky_pair(tmp_path_factory, tiny_model_path, tiny_tokenizer, cpu):
    """A random pair whose matrices have the shapes that int8 needs; the adapter changes the MLP too."""
    from transformers import LlamaConfig, LlamaForCausalLM

    wide = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16, "num_key_value_heads": 4}
    path = tmp_path_factory.mktemp("blocky-llama")
    torch.manual_seed(3)
    LlamaForCausalLM(LlamaConfig(**(LlamaConfig.from_pretrained(tiny_model_path).to_dict() | wide))).save_pretrained(
        path
    )
    tiny_tokenizer.save_pretrained(path)
    adapter = random_adapter(path, path / "adapter", ("q_proj", "o_proj", "down_proj"))
    return load_pair(resolve(str(path)), cpu, str(adapter))


@needs_int8
def test_auto_takes_int8_only_where_the_fidelity_test_passed(blocky_pair, monkeypatch):
    precisions = {wish: make_backend(blocky_pair, wish) for wish in ("auto", "int8", "fp32")}
    assert [backend.precision for backend in precisions.values()] == ["fp32", "int8", "fp32"]
    assert any("fidelity test" in note for note in precisions["auto"].notes)
    assert any("not tested for fidelity" in note for note in precisions["int8"].notes)
    assert precisions["fp32"].notes == []
    monkeypatch.setattr("eval_prompts.decoding.choice.FIDELITY_PASSED", {("llama", 64, 2): "this"})
    tested = make_backend(blocky_pair)
    said = [OPTIONS_ROUNDED] if has_bf16("cpu") else []
    assert (tested.precision, tested.notes) == ("int8", said)


def test_int8_is_refused_where_no_matrix_can_be_held_so(tiny_pair):
    assert make_backend(tiny_pair, "auto").precision == "fp32"
    with pytest.raises(UserError, match=r"no matrix of this model has a size that fits.*Choose auto or fp32"):
        make_backend(tiny_pair, "int8")


def test_a_processor_without_the_kernels_answers_in_fp32(blocky_pair, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    monkeypatch.setattr("eval_prompts.decoding.choice.FIDELITY_PASSED", {("llama", 64, 2): "this"})
    assert make_backend(blocky_pair).precision == "fp32"
    with pytest.raises(UserError, match="neither AVX2 nor AVX-512"):
        make_backend(blocky_pair, "int8")


def test_fp32_is_fp32_on_every_device():
    assert pick_device("cpu", "fp32").dtype == torch.float32


@needs_int8
def test_int8_is_as_near_to_fp32_as_bf16_is(blocky_pair, cpu):
    """Its log-probabilities along random texts stray about as far as those of the same model held in bf16."""
    examples = [encoded(blocky_pair.tokenizer, f"question {n}", f"{n} ans " * 9, max_tokens=400) for n in range(9)]
    exact, low = (scores(PairDecoder(blocky_pair, precision), examples) for precision in ("fp32", "int8"))
    halved = copy.deepcopy(blocky_pair.base).bfloat16()
    differences = []
    for example in examples:
        ids = torch.tensor([example.prompt_ids + example.answer_ids])
        with torch.inference_mode():
            logits = [model(ids).logits[0, -len(example.answer_ids) - 1 : -1] for model in (blocky_pair.base, halved)]
        of_answer = [
            each.float().log_softmax(-1).gather(1, ids[0, -len(example.answer_ids) :, None]) for each in logits
        ]
        differences.append((of_answer[1] - of_answer[0]).abs().flatten())
    bf16 = torch.cat(differences).mean().item()
    for side in SIDES:
        assert 0 < compare(exact[side], low[side]).absolute < 1.5 * bf16


def test_another_adapter_over_the_same_base_needs_no_second_copy_of_its_weights(blocky_pair):
    first, alone = PairDecoder(blocky_pair), PairDecoder(blocky_pair.alone)
    for ours, theirs in zip(first._layers, alone._layers, strict=True):
        assert ours.down._products[0] is theirs.down._products[0]
    low = PairDecoder(blocky_pair.alone, "int8")
    assert low._layers[0].down._products[0] is not first._layers[0].down._products[0]


@needs_int8
def test_the_page_names_the_precision_that_answers(blocky_pair, tmp_path):
    for wish, label in (("int8", "CPU int8"), ("auto", "CPU fp32"), ("fp32", "CPU fp32")):
        with Lens(LocalLoader(str(blocky_pair.base.name_or_path), None, device="cpu", precision=wish)) as lens:
            lens.start()
            lens.wait_ready(60)
            assert lens.status().device == label
            assert bool(lens.status().notes) == (wish != "fp32")


def forward_scores(model, examples) -> Scores:
    """What ``scores`` gives in fp32, by the model's own forward pass over each text as a whole: far fewer steps."""
    log_probs, chosen = [], []
    for example in examples:
        answer = torch.tensor(example.answer_ids)
        with torch.inference_mode():
            ids = torch.tensor([example.prompt_ids + example.answer_ids])
            logits = model(ids, logits_to_keep=len(answer) + 1).logits[0, :-1]
        log_probs.append(logits.log_softmax(-1).gather(1, answer[:, None])[:, 0])
        chosen.append(logits.argmax(-1))
    return Scores(torch.cat(log_probs).double(), torch.cat(chosen))


@needs_int8
def test_int8_is_within_its_limits_on_held_out_answers(smollm_path, cpu):
    """What makes it the default: log-probabilities and the adapter's advantage stay what they are in fp32."""
    pair = load_pair(resolve("smollm2-135m"), cpu, "starter")
    examples = held_out(pair, 24)
    exact = {side: forward_scores(pair.model(side), examples) for side in SIDES}
    low = scores(PairDecoder(pair, "int8"), examples)
    for side in SIDES:
        seen = compare(exact[side], low[side])
        assert abs(seen.signed) < 0.02
        assert seen.absolute < 0.03
    assert abs(gap_change(exact, low)) < 0.02


@pytest.fixture(scope="module")
def bf16_path(tiny_model_path, tmp_path_factory):
    """The tiny model as it is stored on the Hub mostly: in bf16."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = tmp_path_factory.mktemp("bf16-llama")
    AutoModelForCausalLM.from_pretrained(tiny_model_path, dtype=torch.bfloat16).save_pretrained(path)
    AutoTokenizer.from_pretrained(tiny_model_path).save_pretrained(path)
    return path


@pytest.mark.parametrize(
    ("precision", "here", "room", "label"),
    [
        ("auto", True, True, "CPU fp32"),
        ("auto", True, False, "CPU bf16"),
        ("auto", False, False, None),
        ("fp32", True, False, None),
        ("bf16", True, True, "CPU bf16"),
        ("bf16", False, True, None),
    ],
)
def test_bf16_is_for_processors_that_have_it(bf16_path, tiny_model_path, monkeypatch, precision, here, room, label):
    from tuning.models import causal, device

    size = causal.needed_bytes(bf16_path, 4)
    monkeypatch.setattr(device, "has_bf16", lambda name: here)
    monkeypatch.setattr(causal, "free_bytes", lambda name: size if room else size - 1)
    with Lens(LocalLoader(str(bf16_path), None, device="cpu", precision=precision)) as lens:
        lens.start()
        if label is None:
            with pytest.raises(UserError, match="choose auto or fp32" if precision == "bf16" else "GB are free"):
                lens.wait_ready(60)
            return
        lens.wait_ready(60)
        status = lens.status()
        assert status.device == label
        assert any("do not fit" in note for note in status.notes) == (not room)
        assert lens.ask(["Why?"], Settings(max_new_tokens=4), sides=("base",)).result()[0].tokens
    if label == "CPU bf16":
        with Lens(LocalLoader(str(tiny_model_path), None, device="cpu", precision=precision)) as finer:
            finer.start()
            if room:  # asked for
                finer.wait_ready(60)
                assert any("rounded" in note for note in finer.status().notes)
            else:  # weights stored in fp32 are never rounded unasked
                with pytest.raises(UserError, match="GB are free"):
                    finer.wait_ready(60)
