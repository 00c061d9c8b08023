// What the page of a map does beyond Bokeh's own drawing, zooming and hovering: it labels the words
// that fit into the view, finds a word, and lights up its neighbors. `words` has a row for each
// word, the commonest first: x, y, word, count, near (the nearest words, with their cosines).

const FONT_PX = 12;
const GAP_PX = 6; // between a dot and its label

function startMap(doc) {
  const [plot, words, lit, labels] = ["plot", "words", "lit", "labels"].map((name) =>
    doc.get_model_by_name(name),
  );
  const { x, y, word, near, cosines } = words.data;
  const [chosen, close, dim, ink] = plot.tags; // colors
  const rowOf = new Map(word.map((w, row) => [w, row]));
  const search = document.getElementById("search");
  const answer = document.getElementById("answer");
  const neighbors = document.getElementById("neighbors");
  const measure = document.createElement("canvas").getContext("2d");
  measure.font = `${FONT_PX}px sans-serif`;

  // The rows of the selected word and of its neighbors on the map; the first is the word.
  function selectedRows() {
    const [row] = words.selected.indices;
    if (row === undefined) return [];
    return [row, ...near[row].map((w) => rowOf.get(w)).filter((r) => r !== undefined)];
  }

  // The selected word's color is one, its neighbors' another; the rest fades beside them.
  function colorOf(row, selected) {
    if (!selected.length) return ink;
    return row === selected[0] ? chosen : selected.includes(row) ? close : dim;
  }

  function columns(rows, selected) {
    return {
      x: rows.map((row) => x[row]),
      y: rows.map((row) => y[row]),
      word: rows.map((row) => word[row]),
      color: rows.map((row) => colorOf(row, selected)),
    };
  }

  // Labels from the most important row on, each where it covers no label before it.
  function relabel() {
    const { start: left, end: right } = plot.x_range;
    const { start: bottom, end: top } = plot.y_range;
    const selected = selectedRows();
    const taken = [];
    const rows = [];
    for (const row of new Set([...selected, ...word.keys()])) {
      const px = ((x[row] - left) / (right - left)) * plot.inner_width + GAP_PX;
      const py = ((top - y[row]) / (top - bottom)) * plot.inner_height;
      if (!(px > 0 && px < plot.inner_width && py > 0 && py < plot.inner_height)) continue;
      const end = px + measure.measureText(word[row]).width;
      const covers = ([x0, x1, at]) => px < x1 && x0 < end && Math.abs(at - py) < FONT_PX;
      if (taken.some(covers)) continue;
      taken.push([px - GAP_PX, end, py]);
      rows.push(row);
    }
    labels.data = columns(rows, selected);
  }

  // Once before the next picture, however many things have moved.
  let due = 0;
  function relabelSoon() {
    cancelAnimationFrame(due);
    due = requestAnimationFrame(relabel);
  }

  // Shows the selected word, wherever the selection came from: a click, the search, the list.
  function show() {
    const selected = selectedRows();
    lit.data = columns([...selected].reverse(), selected); // the word itself is drawn on top
    neighbors.replaceChildren();
    answer.textContent = "";
    if (selected.length) tell(selected[0]);
    relabelSoon();
  }

  // Lists a word's neighbors; those on the map can be clicked.
  function tell(row) {
    const { count } = words.data;
    const seen = count ? `, seen ${count[row].toLocaleString("en")} times` : "";
    const missing = near[row].filter((w) => !rowOf.has(w)).length;
    const off = missing ? " (gray: not on this map)" : "";
    answer.textContent = `${word[row]}${seen}. Nearest by cosine${off}:`;
    near[row].forEach((w, i) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.textContent = w;
      button.disabled = !rowOf.has(w);
      button.addEventListener("click", () => select(rowOf.get(w)));
      item.append(button, ` ${cosines[row][i].toFixed(2)}`);
      neighbors.append(item);
    });
  }

  function select(row) {
    for (const [range, at] of [[plot.x_range, x[row]], [plot.y_range, y[row]]]) {
      const { start, end } = range;
      const inside = Math.min(start, end) < at && at < Math.max(start, end);
      if (!inside) range.setv({ start: at - (end - start) / 2, end: at + (end - start) / 2 });
    }
    words.selected.indices = [row];
  }

  // The word that is typed; on Enter also the first one that begins so, whatever its case.
  function find(exactly) {
    const typed = search.value.trim();
    const folded = typed.toLowerCase();
    const alike = exactly ? undefined : word.find((w) => w.toLowerCase().startsWith(folded));
    const row = rowOf.get(typed) ?? rowOf.get(alike);
    if (!typed) words.selected.indices = [];
    else if (row !== undefined) {
      select(row);
      if (!rowOf.has(typed)) answer.textContent = `${typed} is not on this map; this is: ${word[row]}`;
    }
    else if (!exactly) {
      words.selected.indices = [];
      answer.textContent = `${typed} is not on this map.`;
    }
  }

  document.getElementById("known").append(...word.map((w) => new Option("", w)));
  search.addEventListener("input", () => find(true));
  search.addEventListener("keydown", (event) => event.key === "Enter" && find(false));
  words.selected.properties.indices.change.connect(show);
  for (const { start, end } of [plot.x_range.properties, plot.y_range.properties]) {
    start.change.connect(relabelSoon);
    end.change.connect(relabelSoon);
  }
  plot.properties.inner_width.change.connect(relabelSoon);
  plot.properties.inner_height.change.connect(relabelSoon);
  show();
}
