"""The owner's panel on the Compare tab that opens other models and adapters, and the endpoint ``/open`` beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder as gradio_uploads

from eval_prompts.opening.opener import Opener
from tuning.errors import UserError
from tuning.shared_tab import Answer, add_endpoint, answered, mount, text


def build(opener: Opener) -> None:
    """The panel inside the current layout; its script shows it to the owner alone, and so do the roles."""

    def offered(_: Answer) -> Answer:
        return opener.offered() | {"progress": opener.progress()}

    def look(sent: Answer) -> Answer:
        return opener.look(sent)

    def begin(sent: Answer) -> Answer:
        opener.begin(sent)
        return opener.progress()

    def progress(_: Answer) -> Answer:
        return opener.progress()

    def take_zip(sent: Answer) -> Answer:
        return {"adapter": opener.received(Path(text(sent, "path")), Path(gradio_uploads()))}

    functions = [answered(work) for work in (offered, look, begin, progress, take_zip)]
    mount("LoraLens.mountOpen(element, server)", "ll-open", functions)


def build_endpoints(opener: Opener) -> None:
    """Adds ``/open`` to the current ``gr.Blocks``."""

    def open_models(
        base: str = "",
        adapter: str = "",
        tuned_model: str = "",
        chat_template: str = "",
        thinking: str = "",
        precision: str = "",
        hold: str = "",
        look: bool = False,
    ) -> dict[str, Any]:
        """Opens other models while the app runs, and waits until they answer. For the owner alone.

        Args:
            base: a preset, a folder, a GGUF file or OWNER/NAME[@REVISION]; empty for the base that answers now.
            adapter: a folder, a zip, a run, OWNER/NAME[@REVISION][/FOLDER] or 'starter'; empty for none.
            tuned_model: a whole model in the adapter's place, named as the base is.
            chat_template: plain, the name of one of the model's templates, or a file; empty for the model's own, or, of
                the base that answers now, for the one it has.
            thinking: 'on' or 'off' for a thinking model's draft; empty as for the template.
            precision: auto, bf16, fp32 or int8; empty for the one of now.
            hold: '4bit' or '8bit' to hold the weights so; empty for as now.
            look: tells only what that will need, and loads nothing.

        Returns:
            The status as /status tells it; with look one object with words, fits, needed_bytes and free_bytes.
        """
        if adapter and tuned_model:
            raise UserError("The tuned side is an adapter or a whole model: give one of the two.")
        wish = {
            "base": base,
            "kind": "model" if tuned_model else "adapter" if adapter else "none",
            "tuned": tuned_model or adapter,
            "chat_template": chat_template or None,
            "thinking": thinking or None,
            "precision": precision or None,
            "hold": hold or None,
        }
        return opener.look(wish) if look else opener.open(wish)

    open_models.__name__ = "open"
    add_endpoint(open_models, concurrency_limit=4, concurrency_id="opening")
