"""A whole model as the tuned side: what is equal is held once, each side is asked as its own model would be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from eval_prompts.answers import Settings
from eval_prompts.decoding.choice import make_backend
from eval_prompts.decoding.sides_apart import SidesApart
from eval_prompts.models.loading import load_sides
from eval_prompts.models.pair import storages_of, with_adapter
from eval_prompts.models.tuned_model import SAME, digest_of
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.serving.template_notes import prompts_apart
from eval_prompts.stream import Stream
from tests.conftest import build_tokenizer
from tests.eval_prompts.models.random_adapter import peft_merged
from tuning.data.chat import encode_prompt
from tuning.errors import UserError
from tuning.models.weights import resolve

QUESTION = "Reverse a string."


@pytest.fixture(scope="module")
def merged_path(tmp_path_factory, tiny_model_path, tiny_adapter_path, tiny_tokenizer) -> Path:
    """The tiny model with its adapter merged in, saved whole. Read only."""
    path = tmp_path_factory.mktemp("merged")
    peft_merged(tiny_model_path, tiny_adapter_path).save_pretrained(path)
    tiny_tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def other_path(tmp_path_factory) -> Path:
    """A model of another family, size, vocabulary and template than the tiny one. Read only."""
    tokenizer = build_tokenizer(pad_is_end=False)
    tokenizer.add_tokens(["<a>", "<b>"])
    tokenizer.chat_template = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}[assistant] "
    torch.manual_seed(5)
    config = Qwen2Config(
        vocab_size=len(tokenizer) + 3,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=300,
        initializer_range=0.2,
        eos_token_id=tokenizer.eos_token_id,
    )
    path = tmp_path_factory.mktemp("other")
    Qwen2ForCausalLM(config).eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def changed(source: Path, target: Path, change) -> Path:
    """A copy of a model after ``change(model)``."""
    model = AutoModelForCausalLM.from_pretrained(source)
    with torch.no_grad():
        change(model)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)
    return target


def answers(pair, engine_for) -> dict[str, list[int]]:
    """Both sides' greedy tokens."""
    stream = Stream([QUESTION], ["base", "tuned"], Settings(max_new_tokens=20))
    engine_for(pair).submit(stream)
    stream.result()
    return {row.side: row.generated for row in stream.rows}


def generated(path: Path) -> list[int]:
    """What transformers' own greedy search writes to the question as the model's own template puts it."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    prompt = torch.tensor([encode_prompt(tokenizer, QUESTION)])
    with torch.inference_mode():
        ids = model.generate(input_ids=prompt, do_sample=False, max_new_tokens=20, pad_token_id=0)[0, prompt.shape[1] :]
    return [token for token in ids.tolist() if token != tokenizer.eos_token_id]


def test_a_merged_checkpoint_shares_what_the_adapter_left_alone(
    tiny_weights, tiny_model_path, merged_path, cpu, engine_for
):
    pair = load_sides(tiny_weights, cpu, None, resolve(str(merged_path)))
    touched = ("q_proj", "k_proj", "v_proj", "o_proj")
    theirs = dict(pair.base.named_parameters(remove_duplicate=False))
    own = 0
    for name, parameter in pair.tuned.named_parameters(remove_duplicate=False):
        shared = parameter.data_ptr() == theirs[name].data_ptr()
        assert shared != any(part in name for part in touched), name
        own += 0 if shared else parameter.untyped_storage().nbytes()
    assert pair.memory_bytes == sum(storages_of(pair.base).values()) + own
    assert pair.base_is_base
    assert prompts_apart(pair) == ()
    assert any("bit for bit" in note for note in pair.adapter.notes)
    assert pair.adapter.is_model
    told = answers(pair, engine_for)
    assert told == {"base": generated(tiny_model_path), "tuned": generated(merged_path)}
    assert told["base"] != told["tuned"]


def test_the_same_weights_and_a_minus_zero(tmp_path, tiny_weights, tiny_model_path, cpu):
    """Equal is bit for bit: a weight of which one zero has another sign is held twice."""

    def zeroed(model, value):
        model.model.layers[0].mlp.up_proj.weight[0, 0] = value

    base = changed(tiny_model_path, tmp_path / "base", lambda model: zeroed(model, 0.0))
    other = changed(tiny_model_path, tmp_path / "other", lambda model: zeroed(model, -0.0))
    same = load_sides(resolve(str(base)), cpu, None, resolve(str(shutil.copytree(base, tmp_path / "copy"))))
    assert SAME in same.adapter.notes
    assert same.memory_bytes == same.alone.memory_bytes
    pair = load_sides(resolve(str(base)), cpu, None, resolve(str(other)))
    up = pair.base.model.layers[0].mlp.up_proj.weight
    assert pair.memory_bytes == pair.alone.memory_bytes + up.nbytes
    assert SAME not in pair.adapter.notes


def test_only_another_setting_makes_another_model(tmp_path, tiny_weights, tiny_model_path, cpu, engine_for):
    """Equal weights that turn positions otherwise are no 'same model', and each side answers as its own does."""
    other = changed(tiny_model_path, tmp_path / "other", lambda model: None)
    config = other / "config.json"
    config.write_text(config.read_text().replace('"rope_theta": 10000.0', '"rope_theta": 77.0'))
    assert "77.0" in config.read_text()
    pair = load_sides(tiny_weights, cpu, None, resolve(str(other)))
    assert SAME not in pair.adapter.notes
    assert pair.memory_bytes < pair.alone.memory_bytes + 4096
    assert answers(pair, engine_for) == {"base": generated(tiny_model_path), "tuned": generated(other)}


def test_another_family_answers_by_its_own_decoder_and_tokenizer(
    tiny_weights, tiny_model_path, other_path, cpu, engine_for
):
    pair = load_sides(tiny_weights, cpu, None, resolve(str(other_path)))
    backend = make_backend(pair, "auto")
    assert isinstance(backend, SidesApart)
    assert backend.context == 300
    assert any("held to the shorter" in note for note in backend.notes)
    assert any("share no memory" in note for note in pair.adapter.notes)
    assert any("its own tokenizer" in note and "its own chat template" in note for note in pair.adapter.notes)
    assert answers(pair, engine_for) == {"base": generated(tiny_model_path), "tuned": generated(other_path)}
    (_, base_prompt), (_, tuned_prompt) = prompts_apart(pair)
    assert base_prompt == "<|im_start|>user\n(the question)<|im_end|>\n<|im_start|>assistant\n"
    assert tuned_prompt == "[user] (the question)\n[assistant] "
    assert answers(load_sides(resolve(str(other_path)), cpu, None, tiny_weights), engine_for) == {
        "base": generated(other_path),
        "tuned": generated(tiny_model_path),
    }


def test_a_larger_model_and_one_with_more_tokens_answer_too(tmp_path, tiny_weights, tiny_model_path, cpu, engine_for):
    def more_tokens(model):
        model.resize_token_embeddings(model.config.vocab_size + 5)

    other = changed(tiny_model_path, tmp_path / "grown", more_tokens)
    pair = load_sides(tiny_weights, cpu, None, resolve(str(other)))
    assert answers(pair, engine_for) == {"base": generated(tiny_model_path), "tuned": generated(other)}


def test_the_fingerprint_sees_a_change_in_the_middle_of_the_file(tmp_path, tiny_model_path, merged_path):
    def one_matrix(model):
        model.model.layers[1].mlp.down_proj.weight.add_(1e-3)

    other = changed(tiny_model_path, tmp_path / "other", one_matrix)
    assert len({digest_of(path) for path in (tiny_model_path, other, merged_path)}) == 3
    assert digest_of(other) == digest_of(shutil.copytree(other, tmp_path / "copy"))


def test_a_model_without_a_tokenizer_is_asked_with_the_bases(tmp_path, tiny_weights, tiny_model_path, cpu):
    bare = tmp_path / "bare"
    AutoModelForCausalLM.from_pretrained(tiny_model_path).save_pretrained(bare)
    pair = load_sides(tiny_weights, cpu, None, resolve(str(bare)))
    assert pair.tokenizers["tuned"] is pair.tokenizer
    assert any("brings no tokenizer" in note for note in pair.adapter.notes)


def test_the_lens_asks_a_whole_model_then_an_adapter_then_nobody(tiny_model_path, tiny_adapter_path, merged_path):
    settings = Settings(max_new_tokens=12)
    with Lens(LocalLoader(str(tiny_model_path), None, tuned_model=str(merged_path), device="cpu")) as lens:
        lens.start()
        lens.wait_ready(60)
        told = lens.status().to_dict()["adapter"]
        assert (told["kind"], told["name"], told["rank"]) == ("model", merged_path.name, 0)
        whole = [answer.text for answer in lens.ask([QUESTION], settings).result()]
        assert lens.read(QUESTION, "Why not?").figures.mean_kl > 0
        assert lens.reload(str(tiny_adapter_path)).kind == "LoRA"
        adapter = [answer.text for answer in lens.ask([QUESTION], settings).result()]
        lens.reload(None)
        assert lens.status().adapter is None
    assert whole == adapter


def test_both_an_adapter_and_a_model_are_refused_and_so_is_what_is_no_model(tiny_model_path, tmp_path):
    with pytest.raises(UserError, match="not both"):
        LocalLoader(str(tiny_model_path), "starter", tuned_model=str(tiny_model_path))
    with Lens(LocalLoader(str(tiny_model_path), None, tuned_model=str(tmp_path), device="cpu")) as lens:
        lens.start()
        with pytest.raises(UserError, match="holds no model"):
            lens.wait_ready(60)


def test_an_adapter_goes_on_the_base_again(tiny_weights, merged_path, tiny_adapter_path, cpu):
    pair = load_sides(tiny_weights, cpu, None, resolve(str(merged_path)))
    again = with_adapter(pair, tiny_weights, str(tiny_adapter_path))
    assert not again.adapter.is_model
    assert again.base is pair.base


def test_a_revision_of_the_hub_is_fetched_and_named(tmp_path, tiny_model_path, merged_path, monkeypatch, cpu):
    import huggingface_hub

    asked = []

    def snapshot_download(repo_id, revision=None, **options):
        asked.append((repo_id, revision))
        return str(tiny_model_path if revision is None else merged_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    pair = load_sides(resolve("owner/tiny"), cpu, None, resolve("owner/tiny@v2.0"))
    assert asked == [("owner/tiny", None), ("owner/tiny", "v2.0")]
    assert pair.adapter.name == "owner/tiny@v2.0"
    assert "owner/tiny" in pair.adapter.origin


def test_a_revision_that_is_not_there_is_said(tmp_path, monkeypatch):
    import httpx
    import huggingface_hub
    from huggingface_hub.errors import RevisionNotFoundError

    def snapshot_download(repo_id, **options):
        raise RevisionNotFoundError("404", response=httpx.Response(404, request=httpx.Request("GET", "http://x")))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="owner/tiny has no revision 'nowhere'"):
        resolve("owner/tiny@nowhere")


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_two_models_in_4_or_8_bits(tmp_path, tiny_tokenizer, cpu, quantize):
    """Weights whose codes are the same and whose scales are not are two weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 4}
    config = LlamaConfig(vocab_size=len(tiny_tokenizer), num_hidden_layers=2, **sizes)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    tiny_tokenizer.save_pretrained(tmp_path / "base")

    def doubled(model):
        model.model.layers[0].mlp.up_proj.weight.mul_(2.0)

    other = changed(tmp_path / "base", tmp_path / "other", doubled)
    pair = load_sides(resolve(str(tmp_path / "base")), cpu, None, resolve(str(other)), quantize=quantize)
    ids = torch.arange(4, 40)[None]
    with torch.inference_mode():
        assert not pair.base(ids).logits.equal(pair.tuned(ids).logits)
    assert make_backend(pair).precision == f"{quantize[0]}-bit bitsandbytes"
    up, down = (f"model.layers.0.mlp.{name}.weight" for name in ("up_proj", "down_proj"))
    assert pair.tuned.get_parameter(up).data_ptr() != pair.base.get_parameter(up).data_ptr()
    assert pair.tuned.get_parameter(down).data_ptr() == pair.base.get_parameter(down).data_ptr()
