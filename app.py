"""LoRA Lens: ``python app.py`` opens the page; ``python app.py --help`` lists the settings."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from eval_prompts import compare_tab, endpoints_tab, results_tab
from eval_prompts.ratings import default_url
from eval_prompts.service import Lens
from eval_prompts.shown_pairs import ShownPairs
from tuning.errors import UserError


class Settings(BaseSettings):
    """Base and LoRA-tuned model side by side. Each option may also be an environment variable: LORA_LENS_PORT=80."""

    model_config = SettingsConfigDict(
        env_prefix="LORA_LENS_",
        cli_prog_name="app.py",
        cli_kebab_case=True,
        cli_implicit_flags="toggle",
        cli_hide_none_type=True,
    )
    model: str = Field("smollm2-135m", description="base model: a preset, a Hub id or a folder")
    adapter: str = Field("starter", description="LoRA adapter: a folder, a Hub id or 'starter'")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 opens it to the network")
    port: int = Field(7860, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    device: str | None = Field(None, description="cuda, mps or cpu; without it the best one here")
    prefer_hub: bool = Field(False, description="take a preset's weights from the Hub where it is reachable")
    load_in_4bit: bool = Field(False, description="hold the base model in 4 bits")
    load_in_8bit: bool = Field(False, description="hold the base model in 8 bits")
    ratings: str | None = Field(
        None, description="file or database URL that keeps the votes; without it DATABASE_URL, then the data folder"
    )
    open_browser: bool = Field(False, description="open the page in the browser")

    def ratings_url(self) -> str:
        """Where votes are kept, as a database URL."""
        if self.ratings is None:
            return default_url()
        return self.ratings if "://" in self.ratings else f"sqlite:///{Path(self.ratings).expanduser().absolute()}"

    def lens(self) -> Lens:
        """The two models these settings name, not loaded yet. Raises UserError for settings at odds."""
        if self.load_in_4bit and self.load_in_8bit:
            raise UserError("A model is held in 4 bits or in 8: choose one of --load-in-4bit and --load-in-8bit.")
        quantize = "4bit" if self.load_in_4bit else "8bit" if self.load_in_8bit else None
        return Lens(self.model, self.adapter, device=self.device, quantize=quantize, prefer_hub=self.prefer_hub)


def read_settings(arguments: list[str]) -> Settings:
    """Settings from the command line, then the environment, then the defaults. Raises UserError for bad values."""
    try:
        return Settings(_cli_parse_args=arguments)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"--{'-'.join(map(str, first['loc'])).replace('_', '-')}: {first['msg']}.") from None
    except SettingsError as error:
        raise UserError(" ".join(str(error).split())) from None


def build_page(lens: Lens, pairs: ShownPairs) -> gr.Blocks:
    """The whole page; each tab adds itself."""
    visitors = compare_tab.Visitors()
    with gr.Blocks(title="LoRA Lens", fill_width=True) as page:
        compare_tab.build_header(lens)
        with gr.Tabs(elem_id="ll-tabs"):
            with gr.Tab("Compare"):
                compare_tab.build(page, lens, visitors, pairs)
            with gr.Tab("Results"):
                results_tab.build(pairs)
        endpoints_tab.build(lens, visitors, pairs)
        page.unload(visitors.forget)
    return page.queue(max_size=64)


def theme() -> gr.themes.Base:
    """Neutral colours, so that the accents keep their meaning, and fonts that gradio serves itself."""
    quiet = {"block_info_text_color": "*neutral_500", "input_placeholder_color": "*neutral_500"}
    return gr.themes.Base(
        primary_hue="zinc",
        neutral_hue="zinc",
        font=(gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"),
        font_mono=(gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"),
    ).set(**quiet, **{f"{name}_dark": "*neutral_400" for name in quiet})


def serve(page: gr.Blocks, settings: Settings) -> str:
    """Opens the page without blocking and returns its address. Raises UserError where the port is taken."""
    port = settings.port or free_port(settings.host)
    try:
        _, url, _ = page.launch(
            server_name=settings.host,
            server_port=port,
            inbrowser=settings.open_browser,
            prevent_thread_lock=True,
            quiet=True,
            show_error=False,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            max_file_size="1mb",
            theme=theme(),
            head=compare_tab.head(),
            favicon_path=compare_tab.PAGE_FOLDER / "favicon.svg",
        )
    except OSError:
        raise UserError(f"Port {port} on {settings.host} is not free: choose another with --port.") from None
    return url


def free_port(host: str) -> int:
    """A port that nothing listens on at this moment."""
    with socket.create_server((host, 0)) as probe:
        return probe.getsockname()[1]


def announce(lens: Lens, pairs: ShownPairs) -> None:
    """Prints, once the models are loaded or refused, where the weights came from or what to do; and what is wrong with
    the ratings database, if anything is."""
    try:
        lens.wait_ready()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
    else:
        status = lens.status()
        print(f"{status.model} is ready on {status.device}; weights from {status.origin}", flush=True)
    try:
        pairs.ratings.adapters()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Serves the page until SIGINT or SIGTERM. Returns the exit code: 0, or 2 for a setting to mend."""
    asked_to_stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: asked_to_stop.set())
    try:
        settings = read_settings(sys.argv[1:] if arguments is None else arguments)
        lens = settings.lens()
        pairs = ShownPairs(settings.ratings_url())
        page = build_page(lens, pairs)
        url = serve(page, settings)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"LoRA Lens is at {url}", flush=True)
    lens.start()
    threading.Thread(target=announce, args=(lens, pairs), daemon=True).start()
    asked_to_stop.wait()
    page.close(verbose=False)
    if lens.status().state == "loading":
        os._exit(0)  # a load cannot be interrupted, only left; half-written caches are never taken for whole ones
    lens.close()
    pairs.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
