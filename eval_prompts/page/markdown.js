// The Markdown that language models write -> elements, redrawing only the blocks that changed.
// HTML in it stays text, pictures are never loaded, and links lead only to http(s) addresses.
(function (lens) {
	const { el } = lens;
	const FENCE = /^(\s*)(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
	const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
	const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
	const ITEM = /^(\s*)(?:([-*+])|(\d{1,9})[.)])\s+(.*)$/;
	const QUOTE = /^ {0,3}>\s?(.*)$/;
	const TABLE_RULE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)+\|?\s*$/;
	const INLINE =
		/(`+)([\s\S]*?[^`])\1(?!`)|\*\*([^\s*](?:[\s\S]*?[^\s*])?)\*\*|\*([^\s*](?:[^*]*[^\s*])?)\*|\[([^\]]*)\]\(([^()\s]*)\)|\\([\\`*_{}[\]()#+\-.!|<>])/;

	function cells(line) {
		return line.replace(/^\s*\||\|\s*$/g, "").split("|").map((cell) => cell.trim());
	}

	/** The text as a list of blocks, each a plain object that JSON can compare. */
	lens.blocks = function (text) {
		const lines = text.split("\n");
		const blocks = [];
		let at = 0;
		const startsBlock = (line) => FENCE.test(line) || HEADING.test(line) || RULE.test(line) || ITEM.test(line) || QUOTE.test(line);
		while (at < lines.length) {
			const line = lines[at];
			const [fenced, heading, item] = [FENCE.exec(line), HEADING.exec(line), ITEM.exec(line)];
			if (!line.trim()) {
				at += 1;
			} else if (fenced) {
				const [, indent, fence, language] = fenced;
				const closing = new RegExp(`^\\s*\\${fence[0]}{${fence.length},}\\s*$`);
				const body = [];
				at += 1;
				while (at < lines.length && !closing.test(lines[at])) {
					body.push(lines[at].startsWith(indent) ? lines[at].slice(indent.length) : lines[at].trimStart());
					at += 1;
				}
				at += 1;
				blocks.push({ type: "code", language, text: body.join("\n") });
			} else if (heading) {
				blocks.push({ type: "heading", level: heading[1].length, text: heading[2] });
				at += 1;
			} else if (RULE.test(line)) {
				blocks.push({ type: "rule" });
				at += 1;
			} else if (QUOTE.test(line)) {
				const body = [];
				for (; at < lines.length && QUOTE.test(lines[at]); at += 1) body.push(QUOTE.exec(lines[at])[1]);
				blocks.push({ type: "quote", text: body.join("\n") });
			} else if (item) {
				const list = { type: "list", start: item[3] ? Number(item[3]) : null, items: [] };
				while (at < lines.length) {
					const next = ITEM.exec(lines[at]);
					if (next && Boolean(next[3]) === (list.start !== null)) {
						list.items.push({ depth: Math.min(3, Math.floor(next[1].length / 2)), text: next[4] });
					} else if (lines[at].trim() && !startsBlock(lines[at]) && /^\s/.test(lines[at])) {
						list.items[list.items.length - 1].text += `\n${lines[at].trim()}`;
					} else if (lines[at].trim() || !ITEM.test(lines[at + 1] || "")) {
						break;
					}
					at += 1;
				}
				blocks.push(list);
			} else if (line.includes("|") && TABLE_RULE.test(lines[at + 1] || "")) {
				const table = { type: "table", head: cells(line), rows: [] };
				at += 2;
				while (at < lines.length && lines[at].includes("|")) table.rows.push(cells(lines[at++]));
				blocks.push(table);
			} else {
				const body = [];
				do body.push(lines[at++].trim());
				while (at < lines.length && lines[at].trim() && !startsBlock(lines[at]));
				blocks.push({ type: "paragraph", text: body.join("\n") });
			}
		}
		return blocks;
	};

	/** Text with code spans, bold, italics and links -> nodes. */
	function inline(text) {
		const nodes = [];
		for (;;) {
			const match = INLINE.exec(text);
			if (!match) break;
			if (match.index) nodes.push(text.slice(0, match.index));
			const [whole, , code, bold, italic, label, address, escaped] = match;
			if (code !== undefined) nodes.push(el("code", {}, code.trim()));
			else if (bold !== undefined) nodes.push(el("strong", {}, ...inline(bold)));
			else if (italic !== undefined) nodes.push(el("em", {}, ...inline(italic)));
			else if (escaped !== undefined) nodes.push(escaped);
			else if (/^https?:\/\//i.test(address))
				nodes.push(el("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, label || address));
			else nodes.push(whole);
			text = text.slice(match.index + whole.length);
		}
		return text ? [...nodes, text] : nodes;
	}

	function drawCode(figure, block) {
		figure.code = block.text;
		lens.setText(figure.querySelector("figcaption span"), block.language || "code");
		const code = figure.querySelector("code");
		const lines = lens.highlight(block.text.replace(/\n+$/, ""), block.language);
		lines.forEach((pieces, index) => {
			const key = JSON.stringify(pieces);
			const line = code.children[index];
			if (line && line.key === key) return;
			const fresh = el("span", { class: "ll-line" });
			for (const [kind, text] of pieces) fresh.append(kind === "plain" ? text : el("span", { class: `ll-t-${kind}` }, text));
			fresh.key = key;
			if (line) line.replaceWith(fresh);
			else code.append(fresh);
		});
		while (code.children.length > lines.length) code.lastChild.remove();
	}

	function draw(block) {
		switch (block.type) {
			case "code": {
				const figure = el("figure", { class: "ll-code" }, el("figcaption", {}, el("span", {})), el("pre", {}, el("code", {})));
				figure.querySelector("figcaption").append(lens.copyButton("Copy", () => figure.code));
				drawCode(figure, block);
				return figure;
			}
			case "heading":
				return el("p", { class: "ll-heading", role: "heading", "aria-level": Math.min(6, block.level + 3) }, ...inline(block.text));
			case "rule":
				return el("hr", {});
			case "quote":
				return el("blockquote", {}, ...inline(block.text));
			case "list": {
				const tag = block.start === null ? "ul" : "ol";
				const items = block.items.map((item) => el("li", { "data-depth": item.depth || null }, ...inline(item.text)));
				return el(tag, { start: block.start === null ? null : block.start }, ...items);
			}
			case "table": {
				const row = (tag, values) => el("tr", {}, ...values.map((value) => el(tag, {}, ...inline(value))));
				return el("div", { class: "ll-table" }, el("table", {}, el("thead", {}, row("th", block.head)), el("tbody", {}, ...block.rows.map((values) => row("td", values)))));
			}
			default:
				return el("p", {}, ...inline(block.text));
		}
	}

	/** Draws `text` into `container`, keeping every block that is unchanged since the last call. */
	lens.renderMarkdown = function (container, text) {
		const blocks = lens.blocks(text);
		blocks.forEach((block, index) => {
			const key = JSON.stringify(block);
			const present = container.children[index];
			if (present && present.key === key) return;
			if (present && block.type === "code" && present.matches("figure.ll-code")) {
				drawCode(present, block);
				present.key = key;
				return;
			}
			const fresh = draw(block);
			fresh.key = key;
			if (present) present.replaceWith(fresh);
			else container.append(fresh);
		});
		while (container.children.length > blocks.length) container.lastChild.remove();
	};
})(window.LoraLens);
