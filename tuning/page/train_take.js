// A run's adapter for use elsewhere: as a zip, merged into its base, or on the Hub.
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
		const merge = lens.button("Write merged weights", "ll-small", () => does.act("merge", { run: run() }));
		const name = el("input", { type: "text", "aria-label": "Repository on the Hub", placeholder: "OWNER/NAME", autocomplete: "off", spellcheck: "false" });
		const open = el("input", { type: "checkbox", id: "ll-push-public" });
		const push = lens.button("Push to the Hub", "ll-small", () => does.act("push", { run: run(), repository: name.value, private: !open.checked }));
		const to = el("div", { class: "ll-push" }, el("div", { class: "ll-field" }, name), el("span", { class: "ll-switch" }, open, el("label", { for: "ll-push-public" }, "public")), push);
		const refused = does.hub ? el("p", { class: "ll-note" }, does.hub) : null;
		for (const part of [name, open, push]) part.disabled = Boolean(does.hub);
		const root = el("details", { class: "ll-more ll-take", hidden: true }, el("summary", {}, "Take the adapter with you"), el("div", { class: "ll-start" }, zip, merge), to, refused, said);

		/** `there` says whether the run has an adapter, `told` how its latest export stands. */
		function update(there, told) {
			root.hidden = !there;
			merge.disabled = push.disabled = told.state === "working";
			if (does.hub) push.disabled = true;
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
