// The panel behind the adapter's name: what it does to the weights, layer by layer.
(function (lens) {
	const { el, setText } = lens;

	const percent = (share) => (share === null ? "" : share >= 0.1 ? `${Math.round(share * 100)}%` : `${(share * 100).toFixed(1)}%`);

	function details(module) {
		const parts = [`${module.module}: the change is ${module.relative === null ? module.change_norm.toPrecision(3) : `${percent(module.relative)} of the weight`}`];
		parts.push(`rank ${module.rank} used as ${module.effective_rank.toFixed(1)}`, `largest singular value ${module.largest_value.toPrecision(3)}`, `scale ${module.scale.toPrecision(3)}`);
		if (module.alignment !== null) parts.push(`${percent(module.alignment)} along the weight's own directions`);
		if (module.intruders !== null) parts.push(`${module.intruders} intruder dimensions`);
		return parts.join(" \u00b7 ");
	}

	/** A table of layers and kinds of module; the darker a cell, the larger its change beside the largest. */
	function heatMap(report, say) {
		const kinds = [...new Set(report.modules.map((module) => module.kind))];
		const layers = [...new Set(report.modules.map((module) => module.layer))].sort((a, b) => (a ?? 1e9) - (b ?? 1e9));
		const relative = report.modules.some((module) => module.relative !== null);
		const size = (module) => (relative ? module.relative ?? 0 : module.change_norm);
		const most = Math.max(...report.modules.map(size), 1e-12);
		const cells = new Map(report.modules.map((module) => [`${module.layer} ${module.kind}`, module]));
		const cell = (layer, kind) => {
			const module = cells.get(`${layer} ${kind}`);
			if (!module) return el("td", {}, "");
			const words = relative ? percent(module.relative) || "?" : module.change_norm.toPrecision(2);
			const box = el("td", { tabindex: "0", style: `--much: ${Math.round((55 * size(module)) / most)}%` }, words);
			for (const event of ["focus", "mouseover"]) box.addEventListener(event, () => say(details(module)));
			return box;
		};
		const head = el("tr", {}, el("th", { scope: "col" }, "layer"), ...kinds.map((kind) => el("th", { scope: "col" }, kind)));
		const rows = layers.map((layer) => el("tr", {}, el("th", { scope: "row" }, layer === null ? "elsewhere" : String(layer)), ...kinds.map((kind) => cell(layer, kind))));
		const caption = relative ? "How large the change is beside each weight (|change| / |weight|)" : "How large the change is (|change|)";
		return el("table", { class: "ll-heat" }, el("caption", {}, caption), el("thead", {}, head), el("tbody", {}, ...rows));
	}

	function leftOut(report) {
		const reasons = Object.entries(report.left_out);
		if (!reasons.length) return null;
		const [[name, why]] = reasons;
		return el("p", { class: "ll-hint" }, `Left out: ${reasons.length} tensor${reasons.length === 1 ? "" : "s"} (${name}): ${why}.`);
	}

	/** The dial and the switches; `use(wish)` has the server answer at that strength, `keep()` writes it to a folder. */
	function strengthForm(report, use, keep) {
		const now = report.strength || { strength: 1, layers_off: [], kinds_off: [] };
		const dial = el("input", { type: "range", min: "0", max: "2", step: "0.05", "aria-label": "Strength of the adapter" });
		dial.value = String(now.strength);
		const value = el("output", {}, Number(now.strength).toFixed(2));
		const said = el("p", { class: "ll-hint", role: "status" });
		const box = (on) => {
			const input = el("input", { type: "checkbox" });
			input.checked = on;
			input.addEventListener("change", apply);
			return input;
		};
		const off = new Set(now.layers_off);
		const layers = report.layer_groups.map(([first, last]) => ({ first, last, input: box(!off.has(first)) }));
		const kinds = [...new Set(report.modules.map((module) => module.kind))].map((kind) => ({ kind, input: box(!now.kinds_off.includes(kind)) }));
		const keepButton = el("button", { type: "button", class: "ll-go" }, "Keep this strength");

		async function apply() {
			setText(said, "The next answer will use it\u2026");
			const layersOff = layers.filter(({ input }) => !input.checked).flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, at) => first + at));
			const answer = await use({ strength: Number(dial.value), layers_off: layersOff, kinds_off: kinds.filter(({ input }) => !input.checked).map(({ kind }) => kind) });
			setText(said, answer.error || [`From the next answer on: ${answer.adapter}.`, ...answer.notes].join(" "));
			keepButton.hidden = Boolean(answer.error) || !answer.strength;
			lens.pollStatus?.();
		}
		dial.addEventListener("input", () => setText(value, Number(dial.value).toFixed(2)));
		dial.addEventListener("change", apply);
		keepButton.hidden = !report.strength;
		keepButton.addEventListener("click", async () => {
			const answer = await keep();
			setText(said, answer.error || `Written to ${answer.folder}.`);
		});
		const switches = (name, items) => el("p", { class: "ll-switches" }, `${name} `, ...items.map(([words, input]) => el("label", {}, input, words)));
		return el(
			"section",
			{ class: "ll-strength", "aria-label": "Strength" },
			el("p", {}, el("b", {}, "Strength "), dial, " ", value, el("span", { class: "ll-hint" }, " 0 is the base, 1 as trained; for everybody who asks here"), keepButton),
			switches("Layers", layers.map(({ first, last, input }) => [first === last ? String(first) : `${first} to ${last}`, input])),
			switches("Modules", kinds.map(({ kind, input }) => [kind, input])),
			said
		);
	}

	/** A button with the adapter's name, and the panel that it opens. */
	lens.buildAdapter = function (server) {
		const name = el("span", { class: "ll-name" }, "\u2026");
		const button = el("button", { type: "button", class: "ll-adapter-button", "aria-expanded": "false", title: "What this adapter does to the weights" }, name);
		const body = el("div", {});
		const one = el("p", { class: "ll-hint ll-module", role: "status" });
		const panel = el("div", { class: "ll-card ll-adapter-card", role: "dialog", "aria-label": "The adapter", hidden: true, tabindex: "-1" }, body);
		const root = el("span", { class: "ll-adapter" }, button, panel);
		let shown = "";

		async function open(on) {
			panel.hidden = !on;
			button.setAttribute("aria-expanded", String(on));
			const key = lens.status?.models; // the same name may stand for other weights by now
			if (!on || shown === key) return;
			shown = key;
			body.replaceChildren(el("p", { class: "ll-hint" }, "Reading the adapter and the weights that it changes\u2026"));
			const report = await lens.asked(server.adapter_report, {});
			if (report.error) {
				shown = "";
				return body.replaceChildren(el("p", {}, report.error));
			}
			setText(one, "Point at a cell, or walk with Tab, for its figures.");
			const verdicts = el("ul", {}, ...report.verdicts.map((line) => el("li", {}, line)));
			body.replaceChildren(el("h2", {}, `What ${report.adapter} changes`), verdicts, lens.status?.owner ? strengthForm(report, (wish) => lens.asked(server.set_strength, wish), () => lens.asked(server.keep_strength, {})) : "", one, report.modules.length ? heatMap(report, (words) => setText(one, words)) : "", leftOut(report) || "");
		}
		button.addEventListener("click", () => open(panel.hidden));
		document.addEventListener("pointerdown", (event) => {
			if (root.contains(event.target)) return;
			panel.hidden = true;
			button.setAttribute("aria-expanded", "false");
		});
		root.addEventListener("keydown", (event) => {
			if (event.key !== "Escape" || panel.hidden) return;
			open(false);
			button.focus();
		});
		return { root, update: (status) => setText(name, status.adapter) };
	};
})(window.LoraLens);
