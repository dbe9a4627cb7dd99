// Where a run's data comes from: the embedded questions, an uploaded file, or a name; and a look at what is trained.
(function (lens) {
	const { el, setText } = lens;
	const TYPES = [".jsonl", ".json", ".csv", ".parquet"];

	/** Sends a file to the page's own upload route; the server's words if it refuses. */
	async function send(file) {
		const body = new FormData();
		body.append("files", file);
		const answer = await fetch("gradio_api/upload", { method: "POST", body });
		const told = await answer.json().catch(() => ({}));
		if (!answer.ok) return { error: told.error || told.detail || `The upload was refused (${answer.status}).` };
		return { path: told[0] };
	}

	function sampleArticle(spans, index) {
		const text = el("pre", { tabindex: "0" });
		for (const [words, trained] of spans) text.append(trained ? el("mark", {}, words) : words);
		return el("article", {}, el("h4", {}, `Sample ${index + 1}`), text);
	}

	/** The data field; `changed()` is called when another source is chosen. */
	lens.buildDataSource = function (form, server, changed) {
		const name = el("input", { id: "ll-field-data", type: "text", autocomplete: "off", spellcheck: "false", list: "ll-sources", "aria-describedby": "ll-data-wrong" });
		const known = el("datalist", { id: "ll-sources" });
		const file = el("input", { type: "file", accept: TYPES.join(","), class: "ll-offscreen", tabindex: "-1", "aria-hidden": "true" });
		const upload = lens.button("Upload a file\u2026", "", () => file.click());
		const look = lens.button("Preview", "", () => preview());
		const wrong = el("small", { class: "ll-wrong", id: "ll-data-wrong", role: "alert" });
		const said = el("small", { class: "ll-hint", role: "status" });
		const facts = el("p", { class: "ll-note" });
		const samples = el("div", { class: "ll-data-samples" });
		const panel = el("details", { class: "ll-more ll-preview", hidden: true, open: true }, el("summary", {}, "What the model sees"), facts, el("p", { class: "ll-note" }, "Only ", el("mark", {}, "the marked tokens"), " are trained; the rest is the question they answer."), samples);
		const root = el(
			"div",
			{ class: "ll-data" },
			el("div", { class: "ll-field" }, el("label", { for: "ll-field-data" }, "Data"), name, known, wrong),
			el("div", { class: "ll-data-tools" }, upload, look, file, said),
			el("small", { class: "ll-hint" }, `${form.embedded} is embedded. Or a JSONL, JSON, CSV or Parquet file of at most ${form.upload_mb} MB, or a Hub data set (OWNER/NAME).`),
			panel
		);
		let details = () => ({});

		function sources(list) {
			known.replaceChildren(...[form.embedded, ...list].map((source) => el("option", { value: source })));
		}
		sources([]);
		name.addEventListener("focus", async () => sources((await server.sources({}))?.uploads || []));

		async function preview() {
			setText(said, "reading and encoding\u2026");
			const told = await server.preview({ ...details(), data: name.value.trim() });
			setText(said, "");
			panel.hidden = !told || Boolean(told.error);
			if (!told) return setText(wrong, "The server does not answer: try again.");
			setText(wrong, told.error || "");
			if (told.error) return;
			setText(facts, told.facts);
			samples.replaceChildren(...told.samples.map(sampleArticle));
			panel.open = true;
		}

		file.addEventListener("change", async () => {
			const [picked] = file.files;
			file.value = "";
			if (!picked) return;
			setText(wrong, "");
			if (picked.size > form.upload_mb * 2 ** 20) return setText(wrong, `${picked.name} has ${Math.ceil(picked.size / 2 ** 20).toLocaleString("en")} MB; at most ${form.upload_mb} MB are taken.`);
			setText(said, `uploading ${picked.name}\u2026`);
			let told;
			try {
				told = await send(picked);
				if (!told.error) told = (await server.keep_upload(told)) || { error: "The server does not answer: try again." };
			} catch {
				told = { error: "The upload broke off: try again." };
			}
			setText(said, "");
			if (told.error) return setText(wrong, told.error);
			sources(told.uploads);
			name.value = told.data;
			changed();
			await preview();
		});

		return {
			root,
			get: () => name.value.trim(),
			set(value) {
				name.value = value;
				panel.hidden = true;
				setText(wrong, "");
			},
			tell(problem) {
				if (problem !== undefined) setText(wrong, problem);
				else if (!name.value.trim()) setText(wrong, "name a data source");
				else setText(wrong, "");
			},
			/** `read()` gives the form's other fields, which decide what is cut off. */
			knows: (read) => (details = read),
		};
	};
})(window.LoraLens);
