// The line at the top: which two models are compared, and what the server does right now, in words.
(function (lens) {
	const { el, setText } = lens;
	const listeners = [];
	lens.status = null;
	lens.onStatus = (listener) => listeners.push(listener);

	const UNREACHABLE = {
		state: "failed",
		words: "no connection",
		problem: "The server does not answer: is app.py still running? The page goes on by itself once it does.",
		progress: null,
		poll_seconds: 3,
		lost: true,
	};

	/** Builds the header inside `root` and asks `server.status()` for news for as long as the page is visible. */
	lens.mountHeader = function (root, server) {
		const model = el("span", { class: "ll-name" }, "\u2026");
		const adapter = lens.buildAdapter(server);
		const shared = el("span", { class: "ll-chip", hidden: true });
		const tunedLabel = el("b", {}, "adapter"); // or "tuned model", where that is a whole one
		const baseLabel = el("b", {}, "base"); // or "adapter", where two of them are compared
		const words = el("span", { class: "ll-words" }, "connecting");
		const device = el("span", { class: "ll-device" });
		const bar = el("span", { class: "ll-bar", hidden: true }, el("span", {}));
		const details = el("dl", {});
		const state = el("summary", { class: "ll-state", "data-state": "loading" }, el("span", { class: "ll-dot", "aria-hidden": "true" }), words, device);
		root.classList.add("ll-header");
		const card = el("details", { class: "ll-status" }, state, el("div", { class: "ll-card" }, details));
		document.addEventListener("click", (event) => {
			if (!card.contains(event.target)) card.open = false;
		});
		card.addEventListener("keydown", (event) => {
			if (event.key === "Escape") card.open = false;
		});
		root.replaceChildren(
			el("h1", {}, el("span", { class: "ll-logo", "aria-hidden": "true" }), "LoRA Lens"),
			el(
				"p",
				{ class: "ll-pair" },
				shared,
				el("span", { class: "ll-chip", "data-side": "base" }, baseLabel, model),
				el("span", { class: "ll-chip", "data-side": "tuned" }, tunedLabel, adapter.root)
			),
			card,
			bar
		);

		/** Tells an owner who has signed in so, in the place of the invitation to do it. */
		function welcome() {
			const link = document.querySelector("#ll-notice a[href$='/owner']:not(.ll-owner)");
			link?.closest("p").replaceChildren("You are the owner. ", el("a", { href: "/owner", class: "ll-owner" }, "Sign out"));
		}

		function draw(status) {
			lens.status = status;
			if (status.owner) welcome();
			const train = document.getElementById("ll-tab-train-button"); // for those who may not train, there is none
			if (train && "owner" in status) train.style.display = status.owner ? "" : "none";
			if (status.model) {
				setText(model, status.model);
				setText(baseLabel, status.against ? "adapter" : "base");
				shared.hidden = !status.against; // two adapters of one base
				setText(shared, `on ${status.base || ""}`);
			}
			if (status.adapter) adapter.update(status);
			if (status.tuned) setText(tunedLabel, status.tuned);
			setText(words, [status.words, status.training].filter(Boolean).join(" \u00b7 "));
			setText(device, status.device ? `\u00b7 ${status.device}` : "");
			state.dataset.state = status.state;
			bar.hidden = status.progress === null;
			bar.firstChild.style.width = `${Math.round((status.progress || 0) * 100)}%`;
			if (status.details) {
				const pairs = status.details.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]);
				details.replaceChildren(...pairs);
			}
			for (const listener of listeners) listener(status);
		}

		let timer = 0;
		async function poll() {
			clearTimeout(timer);
			let status = UNREACHABLE;
			try {
				status = (await server.status([])) || UNREACHABLE;
			} catch {
				status = UNREACHABLE;
			}
			draw(status);
			if (!document.hidden) timer = setTimeout(poll, status.poll_seconds * 1000);
		}
		lens.evidence = () => (server.evidence ? server.evidence({ task: lens.task.name }).catch(() => null) : null);
		lens.pollStatus = poll;
		document.addEventListener("visibilitychange", () => document.hidden || poll());
		poll();
	};
})(window.LoraLens);
