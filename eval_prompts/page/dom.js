// The one way anything gets onto the page: elements whose texts are text nodes. No HTML is ever parsed.
window.LoraLens = window.LoraLens || {};

(function (lens) {
	/** An element with attributes (`class`, `title`, ...; `on*` functions become listeners) and children. */
	lens.el = function (tag, attributes, ...children) {
		const element = document.createElement(tag);
		for (const [name, value] of Object.entries(attributes || {})) {
			if (value === null || value === undefined || value === false) continue;
			if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
			else element.setAttribute(name, value === true ? "" : value);
		}
		element.append(...children.filter((child) => child !== null && child !== undefined));
		return element;
	};

	/** Sets a text only where it changes, so that an idle page stays untouched. */
	lens.setText = function (element, text) {
		if (element.textContent !== text) element.textContent = text;
	};

	let refused = "";
	const plainFetch = window.fetch;
	// Gradio's errors leave out what the server said when it refused a call: it is kept from here until the next failure.
	window.fetch = async function (...call) {
		const ours = String(call[0]?.url ?? call[0]).includes("/component_server");
		const response = await plainFetch.apply(this, call).catch((error) => {
			if (ours) refused = "";
			throw error;
		});
		if (ours && !response.ok) refused = (await response.clone().json().catch(() => ({}))).detail;
		return response;
	};

	/** Why the call of a server's function that failed last did: in the server's own words, or that it does not answer. */
	lens.whyNot = () => (typeof refused === "string" && refused) || "The server does not answer: try again.";

	/** Sends a file to the page's own upload route: `{path}`, or `{error}` with the server's words if it refuses. */
	lens.upload = async function (file) {
		const body = new FormData();
		body.append("files", file);
		try {
			const answer = await fetch("gradio_api/upload", { method: "POST", body });
			const told = await answer.json().catch(() => ({}));
			if (!answer.ok) return { error: told.error || told.detail || `The upload was refused (${answer.status}).` };
			return { path: told[0] };
		} catch {
			return { error: "The upload broke off: try again." };
		}
	};

	/** Gives the browser a text to save as a file. */
	lens.download = function (name, text) {
		const address = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
		const link = lens.el("a", { href: address, download: name });
		document.body.append(link);
		link.click();
		link.remove();
		setTimeout(() => URL.revokeObjectURL(address), 60000);
	};

	/** Copies through the clipboard API, or, where the page is not served securely, through a selection. */
	lens.copy = async function (text) {
		try {
			await navigator.clipboard.writeText(text);
			return true;
		} catch {
			const area = lens.el("textarea", { class: "ll-offscreen", "aria-hidden": "true" });
			area.value = text;
			const focused = document.activeElement;
			document.body.append(area);
			area.select();
			const copied = document.execCommand("copy");
			area.remove();
			if (focused) focused.focus();
			return copied;
		}
	};

	/** A button that copies what `read()` returns and says so for a moment. */
	lens.copyButton = function (label, read) {
		const button = lens.el("button", { type: "button", class: "ll-quiet" }, label);
		button.addEventListener("click", async () => {
			const copied = await lens.copy(read());
			lens.setText(button, copied ? "Copied" : "Not copied");
			clearTimeout(button.resetTimer);
			button.resetTimer = setTimeout(() => lens.setText(button, label), 1500);
		});
		return button;
	};
})(window.LoraLens);
