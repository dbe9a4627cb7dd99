"""Kinds of adapters, each made by peft on a tiny model with random numbers, and saved as a trainer would save it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.matrix.families import Family

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel

ADDED_TOKENS = 5


class CannotMake(Exception):
    """peft does not accept this kind for this model."""


@dataclass(frozen=True)
class Kind:
    """A kind of adapter: how its configuration is made for a model, and whether the vocabulary grows before.

    ``merges`` says whether peft's own merge is the reference; else it is the model with the adapter beside it.
    """

    name: str
    config: Callable[[Family, PreTrainedModel], PeftConfig]
    grows: bool = False
    merges: bool = True


def lora(family: Family, **options: Any) -> PeftConfig:
    """Rank 4 on attention and MLP, unless ``options`` say otherwise."""
    from peft import LoraConfig

    targets = {"target_modules": [*family.attention, *family.mlp]} if "target_parameters" not in options else {}
    return LoraConfig(**({"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"} | targets | options))


def of_lora(name: str, grows: bool = False, merges: bool = True, **options: Any) -> Kind:
    """A kind that is LoRA with further settings."""
    return Kind(name, lambda family, model: lora(family, **options), grows, merges)


def of_class(name: str, **options: Any) -> Kind:
    """A kind with a configuration class of its own, on the layers of the attention."""

    def config(family: Family, model: PreTrainedModel) -> PeftConfig:
        import peft

        targets = {"target_modules": list(family.attention)}
        return getattr(peft, name)(**({"task_type": "CAUSAL_LM"} | targets | options))

    return Kind(name.removesuffix("Config"), config)


def embedding_name(model: PreTrainedModel) -> str:
    """The last part of the input embedding's name."""
    return next(path for path, module in model.named_modules() if module is model.get_input_embeddings()).rpartition(
        "."
    )[2]


def head_name(model: PreTrainedModel) -> str:
    """The last part of the vocabulary head's name."""
    return next(path for path, module in model.named_modules() if module is model.get_output_embeddings()).rpartition(
        "."
    )[2]


def on_embedding(family: Family, model: PreTrainedModel) -> PeftConfig:
    """LoRA on the embedding and the attention."""
    return lora(family, target_modules=[*family.attention, embedding_name(model)])


def on_head(family: Family, model: PreTrainedModel) -> PeftConfig:
    """LoRA on the head and the attention."""
    return lora(family, target_modules=[*family.attention, head_name(model)])


def saved_vocabulary(family: Family, model: PreTrainedModel) -> PeftConfig:
    """LoRA, with embedding and head trained as a whole."""
    return lora(family, modules_to_save=[embedding_name(model), head_name(model)])


def trained_tokens(family: Family, model: PreTrainedModel) -> PeftConfig:
    """LoRA, with the embeddings of a few tokens."""
    return lora(family, trainable_token_indices={embedding_name(model): [5, 9, 100]})


def tokens_alone(family: Family, model: PreTrainedModel) -> PeftConfig:
    """The embeddings of a few tokens and nothing else."""
    from peft import TrainableTokensConfig

    return TrainableTokensConfig(
        target_modules=[embedding_name(model)], token_indices=[5, 9, 100], task_type="CAUSAL_LM"
    )


def feed_forward(family: Family, model: PreTrainedModel) -> PeftConfig:
    """IA3 with a feed-forward layer."""
    from peft import IA3Config

    targets = [*family.attention, *family.mlp]
    return IA3Config(target_modules=targets, feedforward_modules=list(family.mlp), task_type="CAUSAL_LM")


def replicated(family: Family, model: PreTrainedModel) -> PeftConfig:
    """LoRA on a model of three layers, one of them twice."""
    if not hasattr(getattr(model, "model", None), "layers"):
        raise CannotMake("its layers are not where peft looks for them")
    return lora(family, layer_replication=[[0, 2], [1, 2]])


def experts(family: Family, model: PreTrainedModel) -> PeftConfig:
    """LoRA on the experts' parameters of a mixture."""
    names = {
        name.rpartition("mlp.")[2] for name, each in model.named_parameters() if each.dim() == 3 and "mlp." in name
    }
    if not names:
        raise CannotMake("it has no experts")
    return lora(family, target_modules=list(family.attention), target_parameters=sorted(names))


KINDS = (
    of_lora("LoRA"),
    of_lora("rsLoRA", use_rslora=True),
    of_lora("LoRA, all linear", target_modules="all-linear"),
    of_lora("LoRA, patterns", rank_pattern={"v_proj": 2, "query_key_value": 3}, alpha_pattern={"q_proj": 1.0}),
    of_lora("LoRA, one layer", layers_to_transform=[1]),
    of_lora("LoRA, base's biases", bias="all"),
    of_lora("LoRA, own biases", lora_bias=True, merges=False),
    of_lora("DoRA", use_dora=True),
    of_lora("PiSSA", init_lora_weights="pissa"),
    of_lora("OLoRA", init_lora_weights="olora"),
    of_lora("LoRA, orthogonal", init_lora_weights="orthogonal"),
    Kind("LoRA on the embedding", on_embedding, merges=False),
    Kind("LoRA on the head", on_head, merges=False),
    Kind("LoRA, saved vocabulary", saved_vocabulary, merges=False),
    Kind("LoRA, larger vocabulary", saved_vocabulary, grows=True, merges=False),
    Kind("LoRA, trained tokens", trained_tokens, merges=False),
    Kind("LoRA, layers repeated", replicated, merges=False),
    Kind("LoRA on experts", experts),
    Kind("Trainable tokens", tokens_alone, merges=False),
    Kind("IA3", feed_forward),
    of_class("AdaLoraConfig", init_r=6, target_r=4, total_step=100, lora_alpha=8),
    of_class("LoHaConfig", r=4, alpha=8),
    of_class("LoKrConfig", r=4, alpha=8),
    of_class("VeraConfig", r=4),
    of_class("OFTConfig", r=0, oft_block_size=4),
    of_class("BOFTConfig", boft_block_size=4),
    of_class("HRAConfig", r=4),
    of_class("FourierFTConfig", n_frequency=20),
    of_class("VBLoRAConfig", r=2, num_vectors=8, vector_length=4, topk=2, save_only_topk_weights=False),
    of_class("MissConfig", r=4),
    of_class("RandLoraConfig", r=4),
    of_class("C3AConfig", block_size=8),
    of_class("RoadConfig", group_size=4),
    of_class("ShiraConfig", r=4),
    of_class("WaveFTConfig", n_frequency=20),
    of_class("DeloraConfig", r=4),
    of_class("GraloraConfig", r=4, gralora_k=2),
)


def make(kind: Kind, family: Family, base: Path, folder: Path) -> Path:
    """Save an adapter of this kind for the model in ``base``. Raises CannotMake where peft does not accept it."""
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(3)
    if kind.grows:
        model.resize_token_embeddings(model.get_input_embeddings().weight.shape[0] + ADDED_TOKENS, mean_resizing=False)
    try:
        tuned = get_peft_model(model, kind.config(family, model))
    except CannotMake:
        raise
    except Exception as error:
        raise CannotMake(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad and parameter.is_floating_point():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    tuned.save_pretrained(folder)
    return folder
