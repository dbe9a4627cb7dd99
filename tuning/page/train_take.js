// A run's adapter for use elsewhere: as a zip, in the format of other programs with its certificate, or on the Hub.
(function (lens) {
	const { el, setText } = lens;

	/** Fetches all parts of a zip and hands the file to the browser; says how far it is. Returns an error, or ''. */
	async function download(server, run, say) {
		const parts = [];
		let name = "";
		for (let offset = 0; offset !== null; ) {
			const part = await server.take_adapter({ run, offset });
			if (!part) return lens.whyNot();
			if (part.error) return part.error;
			parts.push(Uint8Array.from(atob(part.content), (character) => character.charCodeAt(0)));
			name = part.name;
			offset = part.next;
			say(`${Math.round((100 * (offset === null ? part.size : offset)) / part.size)}%`);
		}
		const link = el("a", { download: name, href: URL.createObjectURL(new Blob(parts, { type: "application/zip" })) });
		document.body.append(link);
		link.click();
		link.remove();
		setTimeout(() => URL.revokeObjectURL(link.href), 10000);
		return "";
	}

	/** The panel; `run()` names the run on show. */
	lens.buildTakeAway = function (does, run) {
		const said = el("p", { class: "ll-note", role: "status" });
		const zip = lens.button("Download the adapter (zip)", "ll-small", async () => {
			const problem = await download(does.server, run(), (words) => setText(said, words));
			setText(said, problem);
		});
		const kind = el("select", { "aria-label": "What to export" }, ...does.exports.map((each) => el("option", { value: each.kind }, `${each.kind}: ${each.words}`)));
		const precision = el("select", { "aria-label": "Precision of the export" });
		const write = lens.button("Export and check", "ll-small", () => does.act("export", { run: run(), kind: kind.value, precision: precision.value }));
		const stop = lens.button("Stop the export", "ll-small", () => does.act("stop_export", { run: run() }));
		const made = el("ul", { class: "ll-made", "aria-label": "Exports of this run" });
		const what = el("select", { "aria-label": "What to push" });

		function offerPrecisions() {
			const { precisions } = does.exports.find((each) => each.kind === kind.value);
			precision.replaceChildren(...precisions.map((each) => el("option", { value: each }, each)));
			precision.hidden = !precisions.length;
		}
		kind.value = "gguf";
		kind.addEventListener("change", offerPrecisions);
		offerPrecisions();

		const name = el("input", { type: "text", "aria-label": "Repository on the Hub", placeholder: "OWNER/NAME", autocomplete: "off", spellcheck: "false" });
		const open = el("input", { type: "checkbox", id: "ll-push-public" });
		const push = lens.button("Push to the Hub", "ll-small", () => does.act("push", { run: run(), repository: name.value, private: !open.checked, what: what.value }));
		const to = el("div", { class: "ll-push" }, el("div", { class: "ll-field" }, what), el("div", { class: "ll-field" }, name), el("span", { class: "ll-switch" }, open, el("label", { for: "ll-push-public" }, "public")), push);
		const refused = does.hub ? el("p", { class: "ll-note" }, does.hub) : null;
		for (const part of [name, open, push, what]) part.disabled = Boolean(does.hub);
		const root = el("details", { class: "ll-more ll-take", hidden: true }, el("summary", {}, "Take the adapter with you"), el("div", { class: "ll-start" }, zip), el("div", { class: "ll-export" }, el("div", { class: "ll-field" }, kind), el("div", { class: "ll-field" }, precision), write, stop), said, made, to, refused);
		let listed = "";

		/** One line for each export that lies here: its certificate's colour in a word, and the sentence. */
		function list(exports) {
			if (JSON.stringify(exports) === listed) return;
			listed = JSON.stringify(exports);
			const line = (each) => el("li", {}, el("b", { class: "ll-proof", "data-colour": each.colour || "none" }, each.colour || "unchecked"), el("span", {}, ` ${each.name}: ${each.sentence || "it was not checked."}`));
			made.replaceChildren(...exports.map(line));
			const chosen = what.value;
			const sound = exports.filter((each) => each.colour !== "red");
			what.replaceChildren(el("option", { value: "" }, "the adapter"), ...sound.map((each) => el("option", { value: each.name }, each.name)));
			what.value = sound.some((each) => each.name === chosen) ? chosen : "";
		}


		/** `there` says whether the run has an adapter, `told` how its latest export stands. */
		function update(there, told) {
			root.hidden = !there;
			write.disabled = push.disabled = told.state === "working";
			stop.hidden = told.state !== "working";
			if (does.hub) push.disabled = true;
			list(told.made || []);
			if (told.words && told.words !== root.dataset.told) {
				root.dataset.told = told.words;
				setText(said, told.words);
				root.open = true;
			}
			if (!name.value || name.value === root.dataset.named) name.value = root.dataset.named = run();
		}
		return { root, update };
	};
})(window.LoraLens);
