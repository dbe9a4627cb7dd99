// The owner's panel that opens other models and adapters while the page stays open.
(function (lens) {
	const { el, setText } = lens;
	const LOOK_AFTER_MS = 400;
	const POLL_MS = 700;
	const GONE = "The app was started again while it opened this, so it was not opened";
	const KINDS = [
		["adapter", "An adapter"],
		["model", "A whole model"],
		["none", "Nothing"],
	];
	const HINTS = {
		adapter: "a folder, a run's name, OWNER/NAME[@REVISION][/FOLDER] on the Hub, or a zip",
		model: "a merged or fine-tuned model: folder, GGUF file, OWNER/NAME[@REVISION]",
		none: "",
	};

	function select(label, options) {
		const field = el("select", {}, ...options.map(([value, words]) => el("option", { value }, words)));
		return { field, root: el("label", {}, el("span", {}, label), field) };
	}

	/** Builds the panel inside `root`, which stays empty for everyone but the owner. */
	lens.mountOpen = function (root, server) {
		let told = null; // what is offered
		let asking = 0;
		let looked = 0;
		let timer = 0;
		let over = 0; // how many openings were over when this page last looked,
		let process = ""; // and in which process of the app
		const names = el("datalist", { id: "ll-open-bases" });
		const tunedNames = el("datalist", { id: "ll-open-tuned-names" });
		const base = el("input", { type: "text", id: "ll-open-base", list: names.id, autocomplete: "off", spellcheck: "false" });
		const tuned = el("input", { type: "text", id: "ll-open-tuned", list: tunedNames.id, autocomplete: "off", spellcheck: "false", "aria-label": "Tuned side" });
		const template = el("input", { type: "text", placeholder: "the model's own", autocomplete: "off", spellcheck: "false" });
		const recent = select("Opened lately", []);
		const thinking = select("Thinking", [["", "as the model does"], ["on", "on"], ["off", "off"]]);
		const precision = select("Precision", [["auto", "automatic"], ["fp32", "fp32"], ["bf16", "bf16"], ["int8", "int8"]]);
		const hold = select("Held in memory", [["", "as it is"], ["8bit", "in 8 bits"], ["4bit", "in 4 bits"]]);
		const radios = KINDS.map(([value, words]) => {
			const input = el("input", { type: "radio", name: "ll-open-kind", value });
			return { input, value, root: el("label", {}, input, words) };
		});
		const hint = el("p", { class: "ll-hint" });
		const file = el("input", { type: "file", accept: ".zip", class: "ll-offscreen", tabindex: "-1", "aria-hidden": "true" });
		const upload = el("button", { type: "button", class: "ll-quiet" }, "Upload a zip\u2026");
		const need = el("div", { class: "ll-open-need", "aria-live": "polite" });
		const go = el("button", { type: "submit", class: "ll-open-go" }, "Open");
		const bar = el("span", { class: "ll-open-bar", hidden: true }, el("span", {}));
		const state = el("span", { class: "ll-hint", role: "status" });
		const wrong = el("p", { class: "ll-notice", role: "alert", hidden: true });
		const beside = el("div", { class: "ll-open-tuned" }, tuned, upload, file);
		const more = el("details", { class: "ll-open-more" }, el("summary", {}, "Chat template, precision"), el("div", { class: "ll-open-fields" }, el("label", {}, el("span", {}, "Chat template"), template), thinking.root, precision.root, hold.root));
		const form = el(
			"form",
			{ class: "ll-open-form" },
			recent.root,
			el("label", { for: base.id }, el("span", {}, "Base model"), base),
			el("p", { class: "ll-hint" }, "a preset, a folder, a GGUF file, or OWNER/NAME[@REVISION] on the Hub"),
			el("fieldset", {}, el("legend", {}, "Compare with"), ...radios.map((radio) => radio.root)),
			beside,
			hint,
			more,
			need,
			wrong,
			el("p", { class: "ll-open-end" }, go, bar, state),
			names,
			tunedNames
		);
		const panel = el("details", { class: "ll-open" }, el("summary", {}, "Open a model or adapter"), form);
		root.hidden = true;
		root.replaceChildren(panel);

		const kind = () => radios.find((radio) => radio.input.checked)?.value || "none";
		const wish = () => ({ base: base.value.trim(), kind: kind(), tuned: kind() === "none" ? "" : tuned.value.trim(), chat_template: template.value.trim(), thinking: thinking.field.value, precision: precision.field.value, hold: hold.field.value });

		function say(error) {
			wrong.hidden = !error;
			setText(wrong, error || "");
		}

		function fill(values) {
			base.value = values.base;
			tuned.value = values.tuned;
			template.value = values.chat_template;
			thinking.field.value = values.thinking;
			precision.field.value = values.precision;
			hold.field.value = values.hold;
			for (const radio of radios) radio.input.checked = radio.value === values.kind;
			if (values.chat_template || values.thinking || values.precision !== "auto" || values.hold) more.open = true;
			drawKind();
		}

		function drawKind() {
			const chosen = kind();
			beside.hidden = chosen === "none";
			upload.hidden = chosen !== "adapter";
			setText(hint, HINTS[chosen]);
			hint.hidden = chosen === "none";
			const options = chosen === "adapter" ? told.adapters : told.presets;
			tunedNames.replaceChildren(...options.map(({ name, words }) => el("option", { value: name }, words)));
		}

		async function load() {
			told = await lens.asked(server.offered, {});
			if (told.error) return say(told.error);
			names.replaceChildren(...told.presets.map(({ name, words }) => el("option", { value: name }, words)));
			recent.field.replaceChildren(el("option", { value: "" }, told.recent.length ? "choose\u2026" : "nothing yet"), ...told.recent.map(({ words }, at) => el("option", { value: String(at) }, words)));
			fill(told.now);
			say(told.closed);
			go.disabled = Boolean(told.closed);
			over = told.progress.number;
			process = told.progress.started;
			if (told.progress.opening) follow(told.progress);
			else look();
		}

		function lookSoon() {
			clearTimeout(timer);
			timer = setTimeout(look, LOOK_AFTER_MS);
		}

		/** What the form as it stands would need; a later question's answer is never replaced by an earlier one's. */
		async function look() {
			clearTimeout(timer);
			if (!told || told.error || told.closed) return;
			const now = wish();
			if (!now.base || (now.kind !== "none" && !now.tuned)) return need.replaceChildren();
			const mine = ++asking;
			const answer = await lens.asked(server.look, now);
			if (mine < looked) return;
			looked = mine;
			need.dataset.fits = answer.error ? "error" : String(answer.fits);
			need.replaceChildren(...(answer.error ? [answer.error] : answer.words).map((line) => el("p", {}, line)));
		}

		function draw(progress) {
			go.disabled = progress.opening || Boolean(told?.closed);
			bar.hidden = !progress.opening;
			bar.classList.toggle("ll-open-unknown", progress.progress === null);
			bar.firstChild.style.width = progress.progress === null ? "" : `${Math.round(progress.progress * 100)}%`;
			if (progress.opening) return setText(state, `${progress.words}${progress.progress === null ? "\u2026" : ` ${Math.round(progress.progress * 100)}%`}`);
			setText(state, progress.opened ? `Open: ${progress.opened}.` : "");
			if (progress.error) say(`${progress.error} What was loaded before still answers.`);
		}

		/** Looks again and again until the opening that is under way is over. */
		async function follow(progress) {
			say("");
			if (progress.started !== process) {
				process = progress.started;
				over = progress.opening ? progress.number : progress.number - 1;
			}
			// A process that was started meanwhile knows nothing of this opening.
			while (progress.started === process && (progress.opening || progress.number === over)) {
				draw(progress.opening ? progress : { ...progress, opening: true });
				await new Promise((resolve) => setTimeout(resolve, POLL_MS));
				const next = await lens.asked(server.progress, {});
				if (next.error && next.number === undefined) {
					say(next.error); // the server does not answer: the page goes on asking
					continue;
				}
				progress = next;
			}
			const restarted = progress.started !== process;
			over = progress.number;
			process = progress.started;
			say("");
			lens.pollStatus?.();
			const done = progress;
			if (restarted) {
				draw({ ...done, opening: false, opened: "", error: "" });
				const wanted = wish();
				await load(); // what is offered and loaded is the new process's; what was to be opened stays in the form
				if (!told.error) fill(wanted);
				look();
				const why = told.error || told.closed;
				return say(why ? `${GONE}. ${why}` : `${GONE}: press Open once more.`);
			}
			if (!done.error) await load();
			draw(done);
		}

		form.addEventListener("submit", async (event) => {
			event.preventDefault();
			go.disabled = true;
			const answer = await lens.asked(server.begin, wish());
			if (answer.error && answer.number === undefined) {
				go.disabled = false;
				return say(answer.error);
			}
			follow(answer);
		});
		for (const field of [base, tuned, template]) field.addEventListener("input", lookSoon);
		for (const field of [thinking.field, precision.field, hold.field]) field.addEventListener("change", look);
		for (const radio of radios)
			radio.input.addEventListener("change", () => {
				tuned.value = "";
				drawKind();
				look();
			});
		recent.field.addEventListener("change", () => {
			const chosen = told.recent[Number(recent.field.value)];
			if (recent.field.value && chosen) fill(chosen);
			recent.field.value = "";
			look();
		});
		upload.addEventListener("click", () => file.click());
		file.addEventListener("change", async () => {
			const [picked] = file.files;
			file.value = "";
			if (!picked) return;
			say("");
			setText(state, `uploading ${picked.name}\u2026`);
			let got = await lens.upload(picked);
			if (!got.error) got = await lens.asked(server.take_zip, got);
			setText(state, "");
			if (got.error) return say(got.error);
			tuned.value = got.adapter;
			look();
		});
		panel.addEventListener("toggle", () => panel.open && load());
		lens.onStatus((status) => {
			if ("owner" in status) root.hidden = !status.owner;
		});
	};
})(window.LoraLens);
