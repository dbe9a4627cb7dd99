"""Figures of every token against the same figures from whole logits, and what the lens refuses."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
)

from eval_prompts.lens import token_scores
from eval_prompts.lens.token_scores import parting, score
from tuning.errors import UserError

SMALL = {"vocab_size": 97, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
CONFIGS = {
    "llama": LlamaConfig(**SMALL, intermediate_size=24, num_key_value_heads=1),
    "mistral with a window": MistralConfig(
        **SMALL, intermediate_size=24, num_key_value_heads=1, sliding_window=5, head_dim=8
    ),
    "gemma2": Gemma2Config(
        **SMALL, intermediate_size=24, num_key_value_heads=1, head_dim=8, sliding_window=6, final_logit_softcapping=5.0
    ),
    "gpt2": GPT2Config(vocab_size=97, n_embd=16, n_layer=2, n_head=2, n_positions=128),
    "mamba": MambaConfig(vocab_size=97, hidden_size=16, num_hidden_layers=2, state_size=4),
}


def model_of(config, seed):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


@pytest.fixture(params=CONFIGS, name="models")
def make_models(request):
    return [model_of(CONFIGS[request.param], seed) for seed in (1, 2)]


@pytest.mark.parametrize(("rows", "keeps"), [(1, True), (3, True), (1000, True), (3, False)])
def test_figures_are_those_of_whole_logits_whatever_the_chunks(models, rows, keeps, monkeypatch):
    if not keeps:
        monkeypatch.setattr(token_scores, "KEEPS", "no such parameter")
    monkeypatch.setattr(token_scores, "CHUNK_BYTES", rows * 4 * 97)
    noise = torch.Generator().manual_seed(rows)
    prompt, text = (torch.randint(0, 97, (count,), generator=noise).tolist() for count in (7, 19))
    found = score(*models, prompt, text)
    with torch.inference_mode():
        base, tuned = (
            model(input_ids=torch.tensor([[*prompt, *text]])).logits[0, 6:-1].double().log_softmax(-1)
            for model in models
        )
    places = torch.arange(len(text))
    for side, whole in (("base", base), ("tuned", tuned)):
        ours = [getattr(entry, side) for entry in found]
        chosen = whole[places, text]
        torch.testing.assert_close(
            torch.tensor([entry.logprob for entry in ours]).double(), chosen, rtol=1e-4, atol=1e-4
        )
        entropies = torch.distributions.Categorical(logits=whole).entropy()
        torch.testing.assert_close(
            torch.tensor([entry.entropy for entry in ours]).double(), entropies, rtol=1e-4, atol=1e-4
        )
        assert [entry.top[0][0] for entry in ours] == whole.argmax(-1).tolist()
        assert [entry.rank for entry in ours] == [
            1 + sum(value > chosen[place] for value in whole[place]).item() for place in places
        ]
    kl = torch.nn.functional.kl_div(tuned, base, log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(
        torch.tensor([entry.kl_base_tuned for entry in found]).double(), kl, rtol=1e-3, atol=1e-4
    )
    assert [entry.token for entry in found] == text


def test_a_model_against_itself_has_changed_nothing():
    model = model_of(CONFIGS["llama"], 1)
    for entry in score(model, model, [1, 2], [3, 4, 5]):
        assert entry.change == entry.kl_base_tuned == entry.kl_tuned_base == 0
        assert entry.same_top


def test_no_tensor_of_tokens_and_vocabulary_is_larger_than_allowed(monkeypatch):
    model = model_of(CONFIGS["llama"], 1)
    monkeypatch.setattr(token_scores, "CHUNK_BYTES", 5 * 4 * 97)
    chunks = list(token_scores.predictions(model, [1, 2, 3], list(range(23)), token_scores.chunk_rows(model), 97))
    assert max(chunk.numel() * 4 for chunk in chunks) <= token_scores.CHUNK_BYTES
    assert sum(len(chunk) for chunk in chunks) == 23


def test_a_text_longer_than_the_context_is_refused_with_the_room_there_is():
    model = model_of(LlamaConfig(**SMALL, intermediate_size=24, max_position_embeddings=16), 1)
    assert len(score(model, model, [1] * 10, [2] * 7)) == 7
    with pytest.raises(UserError, match=r"8 tokens, and the context has room for 7"):
        score(model, model, [1] * 10, [2] * 8)


def test_nothing_to_score_and_tokens_that_one_side_lacks_are_refused():
    model = model_of(CONFIGS["llama"], 1)
    wider = model_of(LlamaConfig(**SMALL | {"vocab_size": 99}, intermediate_size=24), 1)
    with pytest.raises(UserError, match="no text to score"):
        score(model, model, [1], [])
    with pytest.raises(UserError, match="something before it"):
        score(model, model, [], [1])
    with pytest.raises(UserError, match="beyond the 97"):
        score(model, wider, [1], [98])


def test_where_answers_part():
    assert parting([1, 2, 3], [1, 2, 3]) is None
    assert parting([1, 2, 3], [1, 5, 3]) == 1
    assert parting([1, 2], [1, 2, 3]) == 2
    assert parting([], []) is None


class Largest(TorchDispatchMode):
    """Keeps the size in bytes of the largest tensor made whose last dimension is the vocabulary."""

    def __init__(self, vocabulary):
        super().__init__()
        self.vocabulary, self.size = vocabulary, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else [made]:
            if isinstance(each, torch.Tensor) and each.dim() and each.shape[-1] == self.vocabulary:
                self.size = max(self.size, each.numel() * each.element_size())
        return made


@pytest.mark.parametrize("keeps", [True, False])
def test_a_long_text_over_a_real_vocabulary_never_takes_more_than_a_chunk_at_once(keeps, monkeypatch):
    if not keeps:
        monkeypatch.setattr(token_scores, "KEEPS", "no such parameter")
    entries = 49_152
    config = LlamaConfig(
        vocab_size=entries, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    model = model_of(config, 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # what is made is seen in this thread alone
    with Largest(entries) as seen:
        assert len(score(model, model, [1] * 300, [2] * 300)) == 300
    assert 8 << 20 < seen.size <= token_scores.CHUNK_BYTES
