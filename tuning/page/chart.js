// A line chart of one or more series over steps, drawn as SVG at the size it has; a pointer or a finger reads it off.
// A series is {name, points: [[step, mean, low, high], ...], band, dots, style}; the style is a class.
(function (lens) {
	const { el, setText } = lens;
	const SVG = "http://www.w3.org/2000/svg";
	const ROOM = { left: 46, right: 10, top: 8, bottom: 22 };

	function svg(tag, attributes, ...children) {
		const element = document.createElementNS(SVG, tag);
		for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
		element.append(...children);
		return element;
	}

	/** Round numbers between two values, three to five of them. */
	function ticks(low, high) {
		const rough = (high - low) / 4;
		const power = 10 ** Math.floor(Math.log10(rough));
		const size = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
		const found = [];
		for (let at = Math.ceil(low / size) * size; at <= high + size * 1e-9; at += size) found.push(Math.abs(at) < size * 1e-9 ? 0 : at);
		return found;
	}

	const short = (value) => (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e5) ? value.toExponential(1) : String(Number(value.toPrecision(4))));

	function range(series) {
		const values = series.flatMap((each) => each.points.map((point) => point[1]));
		let [low, high] = [Math.min(...values), Math.max(...values)];
		const least = Math.max(Math.abs(low), Math.abs(high)) * 0.002; // ticks have four digits, which tell no less apart
		if (!(high - low > least)) [low, high] = [low - Math.abs(low || 1) * 0.1, high + Math.abs(high || 1) * 0.1];
		const margin = (high - low) * 0.06;
		return [low - margin, high + margin];
	}

	/** A chart with a title; `update(series)` draws what there is. */
	lens.buildChart = function (title, height, waiting) {
		const reading = el("span", { class: "ll-reading" });
		const legend = el("span", { class: "ll-keys" });
		const plot = el("div", { class: "ll-plot" });
		plot.style.height = `${height}px`;
		const root = el("figure", { class: "ll-chart" }, el("figcaption", {}, el("b", {}, title), legend, reading), plot);
		let series = [];
		let pointed = null;

		function draw() {
			const width = plot.clientWidth;
			const shown = series.filter((each) => each.points.length);
			if (!width) return;
			if (!shown.length) return plot.replaceChildren(el("p", { class: "ll-hint" }, waiting));
			const [low, high] = range(shown);
			const last = Math.max(1, ...shown.map((each) => each.points[each.points.length - 1][0]));
			const x = (step) => ROOM.left + (step / last) * (width - ROOM.left - ROOM.right);
			const y = (value) => ROOM.top + ((high - Math.min(high, Math.max(low, value))) / (high - low)) * (height - ROOM.top - ROOM.bottom);
			const place = ([step, mean]) => `${x(step).toFixed(1)},${y(mean).toFixed(1)}`;
			const parts = ticks(low, high).map((value) => svg("g", { class: "ll-grid" }, svg("path", { d: `M${ROOM.left} ${y(value)}H${width - ROOM.right}` }), svg("text", { x: ROOM.left - 7, y: y(value) + 4, "text-anchor": "end" }, short(value))));
			const steps = ticks(0, last).filter((step) => Number.isInteger(step));
			parts.push(...steps.map((step) => svg("text", { x: x(step), y: height - 5, "text-anchor": step === 0 ? "start" : x(step) > width - 24 ? "end" : "middle" }, step === 0 ? "step 0" : step.toLocaleString("en"))));
			for (const each of shown) {
				const { points, style } = each;
				if (each.band) {
					const edge = [...points.map(([step, , , top]) => [step, top]), ...points.map(([step, , bottom]) => [step, bottom]).reverse()];
					parts.push(svg("polygon", { class: `ll-band ${style}`, points: edge.map(place).join(" ") }));
				}
				parts.push(svg("polyline", { class: style, points: points.map(place).join(" ") }));
				if (each.dots || points.length === 1) parts.push(...points.map((point) => svg("circle", { class: style, cx: x(point[0]), cy: y(point[1]), r: points.length > 60 ? 1.5 : 3 })));
			}
			if (pointed !== null) {
				const step = Math.round(Math.min(last, Math.max(0, ((pointed - ROOM.left) / (width - ROOM.left - ROOM.right)) * last)));
				parts.push(svg("path", { class: "ll-cursor", d: `M${x(step)} ${ROOM.top}V${height - ROOM.bottom}` }));
				setText(reading, `step ${step.toLocaleString("en")}: ${shown.map((each) => `${each.name} ${short(nearest(each.points, step)[1])}`).join(" \u00b7 ")}`);
			} else setText(reading, "");
			const said = shown.map((each) => `${each.name} from ${short(each.points[0][1])} to ${short(each.points[each.points.length - 1][1])}`).join("; ");
			plot.replaceChildren(svg("svg", { width, height, role: "img", "aria-label": `${title} over ${last} steps: ${said}` }, ...parts));
		}

		const nearest = (points, step) => points.reduce((best, point) => (Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best));
		function point(event) {
			pointed = event.clientX - plot.getBoundingClientRect().left;
			draw();
		}
		plot.addEventListener("pointermove", point);
		plot.addEventListener("pointerdown", point);
		plot.addEventListener("pointerleave", () => {
			pointed = null;
			draw();
		});
		new ResizeObserver(draw).observe(plot);

		function update(next) {
			series = next;
			const names = next.length > 1 ? next.filter((each) => each.points.length) : [];
			legend.replaceChildren(...names.map((each) => el("span", {}, el("i", { class: each.style }), each.name)));
			draw();
		}
		update([]);
		return { root, update };
	};
})(window.LoraLens);
