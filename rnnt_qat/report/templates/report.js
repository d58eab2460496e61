// Tables, figures and the browser of utterances of a report.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const element = (tag, attributes = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
};

// ---- Figures: drawn when they come into view.

const drawn = new Map();
const OPTIONS = { responsive: true, displaylogo: false, modeBarButtons: [["resetScale2d", "toImage"]], toImageButtonOptions: { format: "svg" } };
function drawFigures() {
  performance.mark("figures");
  document.body.dataset.figures = "ready";
  const seen = new IntersectionObserver(entries => entries.filter(e => e.isIntersecting).forEach(e => {
    seen.unobserve(e.target);
    const figure = drawn.get(e.target);
    Plotly.newPlot(e.target, figure.data, figure.layout, OPTIONS);
    if (!figure.diagnosis) return;
    e.target.on("plotly_click", click => histogram(e.target, figure.diagnosis, click.points[0].pointIndex[0]));
    if (!$("histogram").data) histogram(e.target, figure.diagnosis, worst(figure.diagnosis));
  }), { rootMargin: "300px" });
  for (const figure of data.figures) {
    const plot = element("div"), holder = document.querySelector(`.figures[data-section=${figure.section}]`);
    plot.style.minHeight = `${figure.layout.height}px`;
    holder.append(element("figure", {}, element("figcaption", { textContent: figure.title }), legend(figure, plot), plot));
    drawn.set(plot, figure);
    seen.observe(plot);
  }
}

// Plotly's own legend takes its room from the plot, and long names leave none.
const SIGNS = { circle: "\u25cf", square: "\u25a0", diamond: "\u25c6", "triangle-up": "\u25b2", x: "\u2716", cross: "\u271a" };
function legend(figure, plot) {
  const named = figure.data.map((trace, i) => [trace, i]).filter(([trace]) => trace.name && trace.showlegend !== false);
  if (named.length < 2) return "";
  return element("div", { className: "legend" }, ...named.map(([trace, i]) => {
    const lines = (trace.mode || "") === "lines", sign = element("i", { textContent: lines ? (trace.line.dash ? "\u2505" : "\u2501") : trace.error_x ? "\u2194" : trace.type === "bar" ? "\u25a0" : SIGNS[trace.marker.symbol || "circle"] || "\u25cb" });
    sign.style.color = (!lines && trace.marker.color) || trace.line.color;
    const entry = element("button", { title: "hide or show", onclick: () => {
      const hide = !entry.classList.toggle("hidden") ? true : "legendonly";
      figure.data.forEach((other, k) => { if (other.legendgroup && other.legendgroup === trace.legendgroup || k === i) { other.visible = hide; if (plot.data) Plotly.restyle(plot, { visible: hide }, [k]); } });
    } }, sign, trace.name);
    return entry;
  }));
}

// The row with the darkest cells among those that have a histogram.
function worst(diagnosis) {
  const badness = row => row.histogram.some(n => n) ? row.badness.reduce((sum, b) => sum + (b || 0), 0) : -1;
  return diagnosis.rows.reduce((best, row, i) => badness(row) > badness(diagnosis.rows[best]) ? i : best, 0);
}

function histogram(plot, diagnosis, index) {
  const row = diagnosis.rows[index], total = row.histogram.reduce((a, b) => a + b, 0), holder = $("histogram");
  Plotly.purge(holder);
  for (const [other, figure] of drawn) if (figure.diagnosis && other.data) Plotly.relayout(other, { shapes: other === plot ? [{ type: "rect", xref: "paper", x0: 0, x1: 1, y0: index - 0.5, y1: index + 0.5, line: { color: "#222", width: 2 } }] : [] });
  const title = `${diagnosis.system}: ${row.layer} ${row.tensor}, ${row.operator}`;
  if (!total) { holder.textContent = `${title}: no format, so no range`; return; }
  holder.textContent = "";
  const x = diagnosis.histogram_bits.map(b => b + 0.25), shares = row.histogram.map(n => 100 * n / total);
  const outside = diagnosis.histogram_bits.map(b => b >= 0);
  Plotly.newPlot(holder, [{
    type: "bar", x, y: shares, width: 0.5, marker: { color: outside.map(o => o ? "#d55e00" : "#0072b2") },
    hovertemplate: "2^%{x:.2f} of the largest: %{y:.3g} % of the values<extra></extra>",
  }], {
    title: { text: `${title}; largest ${row.bound.toPrecision(4)}, ${total.toLocaleString("en")} values`, font: { size: 13 } }, font: { family: "system-ui, sans-serif", color: "#222" },
    xaxis: { title: { text: "log2 of a value's magnitude to the largest of its format; orange: out of range" }, range: [-20.2, 4.2], dtick: 2, gridcolor: "#e6e6e6" },
    yaxis: { title: { text: "values, %" }, gridcolor: "#e6e6e6" }, height: 240, margin: { l: 55, r: 40, t: 34, b: 45 }, bargap: 0,
    shapes: [{ type: "line", x0: 0, x1: 0, yref: "paper", y0: 0, y1: 1, line: { color: "#222", dash: "dot" } }],
  }, OPTIONS);
}

// ---- The list of utterances: only the visible rows are in the document.

const ROW = 26;
let set = 0, shown = [], sorting = { by: "total", down: true }, chosen = null, pair = null;

const errorsOf = (u, i) => u.h[i] ? u.h[i].e : null;
const totalOf = u => u.h.reduce((sum, h) => sum + (h ? h.e : 0), 0);
const differs = u => new Set(u.h.filter(h => h).map(h => h.t)).size > 1;

for (const group of data.sets) for (const u of group.utterances) u.words = u.r ? u.r.split(" ").length : 0;

function* edits(reference, hypothesis, operations) {
  const r = reference.split(" "), h = hypothesis.split(" ");
  let i = 0, j = 0;
  for (const o of operations) yield [o, o === "i" ? "" : r[i++], o === "d" ? "" : h[j++]];
}

function columns() {
  const group = data.sets[set], some = group.utterances[0], several = group.systems.length > 1;
  const all = [{ key: "id", name: "utterance", of: u => u.id, width: 118, grows: 2 }];
  if (some.who !== null) all.push({ key: "who", name: "speaker", of: u => u.who, width: 66, grows: 1 });
  all.push({ key: "s", name: "s", title: "seconds of audio", of: u => u.s, text: u => u.s.toFixed(1), width: 38, number: true });
  if (some.snr !== null) all.push({ key: "snr", name: "SNR, dB", title: "estimated signal-to-noise ratio", of: u => u.snr, text: u => u.snr.toFixed(0), width: 66, number: true });
  group.systems.forEach((system, i) => all.push({ key: `e${i}`, name: several ? `${i + 1}` : "errors", title: `word errors of ${system.name}`, of: u => errorsOf(u, i), width: several ? 32 : 56, number: true, errors: true }));
  if (several) all.push({ key: "total", name: "all", title: "word errors of all systems", of: totalOf, width: 38, number: true });
  all.grid = all.map(c => c.grows ? `minmax(${c.width}px,${c.grows}fr)` : `${c.width}px`).join(" ");
  all.least = `${all.reduce((sum, c) => sum + c.width + 5, 11)}px`;
  return all;
}

function filter() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const only = $("differ").checked, wrong = $("wrong").checked;
  const matches = u => {
    if (only && !differs(u)) return false;
    if (wrong && !totalOf(u)) return false;
    if (pair && pair.set === set && u.h[pair.system] && ![...edits(u.r, u.h[pair.system].t, u.h[pair.system].o)].some(([o, a, b]) => o !== "e" && a === pair.said && b === pair.heard)) return false;
    if (!words.length) return true;
    const text = [u.id, u.who || "", u.r, ...u.h.map(h => h ? h.t : "")].join(" ").toLowerCase();
    return words.every(w => text.includes(w));
  };
  const column = columns().find(c => c.key === sorting.by) || columns().at(-1), sign = sorting.down ? -1 : 1;
  shown = data.sets[set].utterances.map((u, i) => i).filter(i => matches(data.sets[set].utterances[i]));
  const key = i => column.of(data.sets[set].utterances[i]);
  shown.sort((a, b) => { const x = key(a), y = key(b); return sign * (typeof x === "string" ? x.localeCompare(y) : x - y) || a - b; });
  $("count").textContent = `${shown.length.toLocaleString("en")} of ${data.sets[set].utterances.length.toLocaleString("en")} utterances`;
  $("pair").replaceChildren(...(pair && pair.set === set ? [element("button", { textContent: `${pair.said || "-"} \u2192 ${pair.heard || "-"}  \u00d7`, onclick: () => { pair = null; filter(); } })] : []));
  $("systems").replaceChildren(...(data.sets[set].systems.length > 1 ? data.sets[set].systems.map((s, i) => element("span", {}, element("b", { textContent: i + 1 }), ` ${s.name}`)) : []));
  $("list").scrollTop = 0;
  head();
  paintRows();
}

function head() {
  const all = columns();
  $("listhead").style.gridTemplateColumns = all.grid;
  $("listhead").style.minWidth = $("rows").style.minWidth = all.least;
  $("listhead").replaceChildren(...all.map(c => element("span", {
    className: c.number ? "n" : "", title: c.title || c.name, textContent: c.name + (sorting.by === c.key ? (sorting.down ? " \u25bc" : " \u25b2") : ""),
    onclick: () => { sorting = { by: c.key, down: sorting.by === c.key ? !sorting.down : !!c.number }; filter(); },
  })));
}

function paintRows() {
  const all = columns(), list = $("list");
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5), last = Math.min(shown.length, first + Math.ceil(list.clientHeight / ROW) + 10);
  $("rows").style.height = `${shown.length * ROW}px`;
  $("rows").replaceChildren(...shown.slice(first, last).map((index, k) => {
    const u = data.sets[set].utterances[index], row = element("div", { className: `row${index === chosen ? " chosen" : ""}`, onclick: () => choose(index) });
    row.style.top = `${(first + k) * ROW}px`;
    row.style.gridTemplateColumns = all.grid;
    for (const c of all) {
      const value = c.of(u), share = value / Math.max(1, u.words), level = c.errors ? ` bad${!value ? 0 : share <= 0.2 ? 1 : share <= 0.5 ? 2 : 3}` : "";
      row.append(element("span", { className: (c.number ? "n" : "") + level, textContent: value === null ? "" : c.text ? c.text(u) : value, title: c.number ? "" : value }));
    }
    return row;
  }));
}

// ---- One utterance: its audio, spectrogram, tokens and alignments.

const audioFiles = new Map(), waiting = new Map();
window.receiveAudio = (shard, files) => {
  for (const [key, file] of Object.entries(files)) audioFiles.set(key, file);
  (waiting.get(shard) || []).forEach(done => done());
  waiting.delete(shard);
};

function audioOf(group, index) {
  const key = `${group}:${index}`, shard = data.sets[group].firstShard + Math.floor(index / data.audio.shard);
  if (audioFiles.has(key) || !data.audio.beside) return Promise.resolve(audioFiles.get(key));
  return new Promise((resolve, reject) => {
    if (!waiting.has(shard)) {
      waiting.set(shard, []);
      document.head.append(element("script", { src: `${data.audio.beside}/${shard}.js`, onerror: () => reject(new Error(`${data.audio.beside}/${shard}.js is missing: keep that folder beside this page`)) }));
    }
    waiting.get(shard).push(() => resolve(audioFiles.get(key)));
  });
}

async function choose(index) {
  chosen = index;
  paintRows();
  const group = set, u = data.sets[group].utterances[index], detail = $("detail");
  const picker = element("select", { ariaLabel: "tokens of" });
  data.sets[group].systems.forEach((s, i) => { if (u.h[i]) picker.append(element("option", { value: i, textContent: data.sets[group].systems.length > 1 ? `${i + 1} ${s.name}` : s.name })); });
  const picture = element("div", { className: "picture" }), player = element("audio", { controls: true }), said = element("p", { className: "note" });
  detail.replaceChildren(element("h3", { textContent: u.id }), player, element("div", { className: "controls" }, "tokens of ", picker), picture, said, alignment(data.sets[group], u));
  if (!data.audio.there) { player.remove(); said.textContent = "This page was made without audio."; drawTokens(picture, null, 0, u, picker, group); return; }
  let file;
  try { file = await audioOf(group, index); } catch (error) { said.textContent = error.message; return; }
  if (chosen !== index || set !== group) return;
  const bytes = Uint8Array.from(atob(file), c => c.charCodeAt(0));
  const type = "audio/ogg";
  player.src = URL.createObjectURL(new Blob([bytes], { type }));
  let decoded;
  try { decoded = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes.buffer.slice(0)); } catch (error) { said.textContent = `This browser cannot decode ${type}: ${error.message}`; return; }
  if (chosen !== index || set !== group) return;
  const samples = decoded.getChannelData(0), analyzer = new Spectrogram.Analyzer(decoded.sampleRate), frames = analyzer.frames(samples);
  const image = Spectrogram.image(frames, analyzer.bins, ...Spectrogram.range(frames));
  const draw = () => drawTokens(picture, image, decoded.duration, u, picker, group);
  picker.onchange = draw;
  draw();
  const tick = () => {
    const line = picture.querySelector("#playhead");
    if (!line || !player.isConnected) return;
    line.style.display = player.currentTime ? "block" : "none";
    line.style.left = `${player.currentTime * picture.scale}px`;
    requestAnimationFrame(tick);
  };
  tick();
}

// Tokens in rows above the spectrogram, each at the audio that had been heard when it was emitted.
function drawTokens(picture, image, seconds, u, picker, group) {
  const hypothesis = u.h[picker.value], system = data.sets[group].systems[picker.value];
  const pieces = hypothesis ? Array.from(hypothesis.p) : [], times = hypothesis ? hypothesis.ms : [];
  seconds = Math.max(seconds, u.s, ...times.map(t => t / 1000));
  const width = Math.max($("detail").clientWidth - 4, Math.min(160 * seconds, 16000)), scale = width / seconds;
  const canvas = element("canvas"), context = canvas.getContext("2d"), dense = window.devicePixelRatio || 1, height = image ? 190 : 0;
  context.font = "13px monospace";
  const ends = [], places = pieces.map((piece, i) => {
    const text = piece.replaceAll(" ", "\u2423"), x = times[i] / 1000 * scale, half = context.measureText(text).width / 2 + 2;
    let row = ends.findIndex(end => end <= x - half);
    if (row < 0) row = ends.push(0) - 1;
    ends[row] = x + half;
    return { text, x, row };
  });
  const strip = 16 * Math.max(ends.length, 1) + 6, foot = 18;
  canvas.width = width * dense; canvas.height = (strip + height + foot) * dense;
  canvas.style.width = `${width}px`; canvas.style.height = `${strip + height + foot}px`;
  context.scale(dense, dense);
  context.fillStyle = "#fff"; context.fillRect(0, 0, width, strip + height + foot);
  if (image) context.drawImage(image, 0, strip, width * (u.s / seconds), height);
  context.font = "13px monospace"; context.textAlign = "center"; context.textBaseline = "top";
  for (const { text, x, row } of places) {
    context.strokeStyle = "rgba(150,150,150,.5)"; context.beginPath(); context.moveTo(x, 16 * row + 16); context.lineTo(x, strip); context.stroke();
    if (image) { context.strokeStyle = "rgba(255,255,255,.75)"; context.beginPath(); context.moveTo(x, strip); context.lineTo(x, strip + height); context.stroke(); }
    const half = context.measureText(text).width / 2 + 1;
    context.fillStyle = "#fff"; context.fillRect(x - half, 16 * row + 1, 2 * half, 15);
    context.fillStyle = "#222"; context.fillText(text, x, 16 * row + 2);
  }
  context.fillStyle = "#6b6b6b"; context.font = "11px sans-serif";
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10].find(s => s * scale >= 45) || 20;
  for (let t = 0; t < seconds; t += step) { context.fillText(`${+t.toFixed(1)} s`, Math.max(t * scale, 10), strip + height + 4); }
  if (image && system.chunk_ms) {
    context.strokeStyle = "rgba(255,255,255,.35)"; context.setLineDash([2, 4]);
    for (let t = system.chunk_ms / 1000; t < u.s; t += system.chunk_ms / 1000) { context.beginPath(); context.moveTo(t * scale, strip); context.lineTo(t * scale, strip + height); context.stroke(); }
    context.setLineDash([]);
  }
  picture.scale = scale;
  picture.replaceChildren(canvas, element("div", { id: "playhead" }));
}

// Reference and hypotheses in columns, one for each word and one for each place of insertions, cut
// into as many tables as the width asks for.
function alignment(group, u) {
  const words = u.r ? u.r.split(" ") : [], all = u.h.map(h => {
    if (!h) return null;
    const cells = Array.from({ length: 2 * words.length + 1 }, () => null);
    let at = 0;
    for (const [o, , heard] of edits(u.r, h.t, h.o)) {
      if (o === "i") { cells[2 * at] = { o, text: [cells[2 * at] ? cells[2 * at].text : "", heard].join(" ").trim() }; continue; }
      cells[2 * at + 1] = { o, text: o === "d" ? "\u2014" : heard };
      at++;
    }
    return cells;
  });
  const used = Array.from({ length: 2 * words.length + 1 }, (_, c) => c).filter(c => c % 2 || all.some(cells => cells && cells[c]));
  const differing = new Set(used.filter(c => new Set(all.filter(x => x).map(x => x[c] ? x[c].text : "")).size > 1));
  const rows = [{ name: "reference", reference: true, cells: used.reduce((row, c) => { if (c % 2) row[c] = { o: "", text: words[(c - 1) / 2] }; return row; }, {}) }];
  const named = (s, i) => group.systems.length > 1 ? `${i + 1} ${s.name.length > 22 ? `\u2026${s.name.slice(-21)}` : s.name}` : s.name;
  group.systems.forEach((s, i) => { if (all[i]) rows.push({ name: named(s, i), title: s.name, errors: `${u.h[i].e} / ${words.length}`, cells: all[i] }); });
  const room = $("detail").clientWidth - NAME, wide = c => Math.max(...rows.map(r => r.cells[c] ? Math.max(1, r.cells[c].text.length) : 1)) * 9.4 + 14;
  const blocks = [[]];
  let taken = 0;
  for (const c of used) {
    if (taken + wide(c) > room && blocks.at(-1).length) { blocks.push([]); taken = 0; }
    blocks.at(-1).push(c);
    taken += wide(c);
  }
  const tables = blocks.map((columns, number) => element("table", {}, ...rows.map(r => element("tr", { className: r.reference ? "ref" : "" },
    element("td", { textContent: r.name, title: r.title || "" }), element("td", { textContent: number ? "" : r.reference ? "errors" : r.errors }),
    ...columns.map(c => element("td", { textContent: r.cells[c] ? r.cells[c].text : "", className: (r.cells[c] ? r.cells[c].o : "") + (r.reference && differing.has(c) ? " differs" : "") }))))));
  const key = element("p", { className: "note key" });
  key.innerHTML = "<span class=s>substituted</span><span class=d>\u2014 deleted</span><span class=i>inserted</span>" + (group.systems.length > 1 ? "<span class=differs>systems differ</span>" : "");
  return element("div", { className: "alignment" }, key, ...tables);
}
const NAME = 270; // pixels that the names and counts of a row take

// ---- Confusions.

function confusions() {
  const index = +$("confusionset").value, group = data.sets[index], number = +$("confusionsystem").value, system = group.systems[number];
  const lists = [["Words substituted", system.words.filter(p => p[0] && p[1]), true], ["Words deleted", system.words.filter(p => !p[1]), true], ["Words inserted", system.words.filter(p => !p[0]), true], ["Letters (\u2423 is the space)", system.letters, false]];
  const text = (unit, letters) => unit ? (letters ? unit.replaceAll(" ", "\u2423") : unit) : "\u2014";
  $("pairs").replaceChildren(...lists.map(([title, pairs, words]) => element("div", {}, element("b", { textContent: title }), element("ol", {}, ...pairs.map(([said, heard, n]) => {
    const item = element("li", {}, element("span", { textContent: `${text(said, !words)} \u2192 ${text(heard, !words)}` }), element("em", { textContent: n }));
    if (words) {
      item.dataset.said = said;
      item.onclick = () => { pair = { set: index, system: number, said, heard }; $("set").value = set = index; filter(); $("utterances").scrollIntoView(); if (shown.length) choose(shown[0]); };
    }
    return item;
  })))));
}

function begin() {
  for (const id of ["set", "confusionset"]) data.sets.forEach((s, i) => $(id).append(element("option", { value: i, textContent: s.name })));
  $("set").onchange = () => { set = +$("set").value; chosen = null; $("detail").replaceChildren(); filter(); if (shown.length) choose(shown[0]); };
  const systems = () => { $("confusionsystem").replaceChildren(...data.sets[+$("confusionset").value].systems.map((s, i) => element("option", { value: i, textContent: s.name }))); confusions(); };
  $("confusionset").onchange = systems;
  $("confusionsystem").onchange = confusions;
  $("search").oninput = $("differ").onchange = $("wrong").onchange = filter;
  $("list").onscroll = paintRows;
  $("list").tabIndex = 0;
  $("list").onkeydown = event => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || chosen === null) return;
    event.preventDefault();
    const next = shown[shown.indexOf(chosen) + step];
    if (next === undefined) return;
    const place = shown.indexOf(next) * ROW;
    if (place < $("list").scrollTop) $("list").scrollTop = place;
    const room = $("list").clientHeight - $("listhead").offsetHeight;
    if (place + ROW > $("list").scrollTop + room) $("list").scrollTop = place + ROW - room;
    choose(next);
  };
  filter();
  systems();
  performance.mark("table");
  window.addEventListener("load", () => {
    if (shown.length) choose(shown[0]);
    // As a file of its own the browser compiles the library beside what the page does.
    const library = URL.createObjectURL(new Blob([$("plotly").textContent], { type: "text/javascript" }));
    document.head.append(element("script", { src: library, onload: drawFigures }));
  });
}
begin();
