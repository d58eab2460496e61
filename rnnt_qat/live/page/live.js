// Sends a microphone or a file to the server and shows what comes back.
"use strict";

const facts = JSON.parse(document.getElementById("facts").textContent);
const $ = id => document.getElementById(id);
const WINDOW_S = 8, RATE = facts.sample_rate_hz;

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className; made.textContent = text;
  return made;
}

function say(text, wrong = false) { $("status").textContent = text; $("status").className = wrong ? "error" : ""; }

const percentile = (values, share) => values.length ? [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))] : NaN;

class ModelView {
  constructor(name) {
    this.root = element("section", "model");
    this.tokens = element("div", "tokens"); this.text = element("div", "text"); this.figures = element("dl");
    this.root.append(element("h2", "", name), this.text, this.figures);
    $("models").append(this.root);
    const strip = element("div", "strip");
    strip.append(element("span", "", name), this.tokens);
    $("strips").append(strip);
    this.reset();
  }
  reset() {
    this.emitted = []; this.pending = []; this.latencies = []; this.computed = 0; this.seconds = 0; this.batch = 0;
    this.text.replaceChildren(); this.line = null; this.show();
  }
  take(message) {
    this.emitted.push(...message.tokens); this.pending = message.pending; this.seconds = message.seconds; this.batch = message.batch;
    this.latencies.push(message.latency_ms); this.computed += message.compute_ms / message.batch;
    this.emitted = this.emitted.filter(([, ms]) => ms > 1000 * (this.seconds - WINDOW_S - 2));
    for (const transcript of message.transcripts) {
      if (!this.line) { this.line = element("p"); this.said = element("span"); this.open = element("span", "pending"); this.line.append(element("small", "", `${transcript.start_s.toFixed(1)} s`), this.said, " ", this.open); this.text.append(this.line); }
      for (const [word] of transcript.words) this.said.textContent += `${this.said.textContent ? " " : ""}${word}`;
      this.open.textContent = transcript.pending;
      if (transcript.final) this.line = null;
    }
    this.text.scrollTop = this.text.scrollHeight;
    this.show();
  }
  show() {
    const wait = this.latencies.length ? `${percentile(this.latencies, .5).toFixed(0)} / ${percentile(this.latencies, .99).toFixed(0)}` : "-";
    const rows = [["wait p50 / p99, ms", wait], ["real-time factor, s / s", this.seconds ? (this.computed / 1000 / this.seconds).toFixed(3) : "-"],
      ["audio heard, s", this.seconds.toFixed(1)], ["streams at once", this.batch || "-"]];
    this.figures.replaceChildren(...rows.map(([name, value]) => { const pair = element("div"); pair.append(element("dt", "", name), element("dd", "", value)); return pair; }));
  }
  // Tokens that would cover each other stand one below the other.
  place(now) {
    const width = this.tokens.clientWidth, ends = Array(ROWS).fill(-Infinity);
    const made = [...this.emitted.map(t => [...t, ""]), ...this.pending.map(t => [...t, "pending"])].map(([piece, ms, kind]) => {
      const x = width * (1 - (now - ms / 1000) / WINDOW_S), mark = element("b", kind, piece.replaceAll(" ", "\u2423"));
      const half = 4 * piece.length + 1, free = ends.findIndex(end => end <= x - half), row = free < 0 ? ends.indexOf(Math.min(...ends)) : free;
      ends[row] = x + half;
      mark.style.left = `${x}px`; mark.style.top = `${15 * row}px`;
      return mark;
    });
    this.tokens.replaceChildren(...made);
  }
}
const ROWS = 4; // of tokens

const views = new Map(facts.models.map(name => [name, new ModelView(name)]));

// ---- The scrolling spectrogram of what was sent.

class Scroll {
  constructor() { this.analyzer = new Spectrogram.Analyzer(RATE); this.frames = []; this.rest = new Float32Array(0); this.sent = 0; this.high = -2; }
  add(samples) {
    const all = new Float32Array(this.rest.length + samples.length);
    all.set(this.rest); all.set(samples, this.rest.length);
    let start = 0;
    for (; start + this.analyzer.size <= all.length; start += this.analyzer.hop) {
      const frame = this.analyzer.frame(all, start);
      this.high = Math.max(this.high - 0.002, ...frame);
      this.frames.push(frame);
    }
    this.rest = all.slice(start);
    this.sent += samples.length;
    this.frames = this.frames.slice(-WINDOW_S * 100);
  }
  draw() {
    const canvas = $("spectrogram"), context = canvas.getContext("2d");
    canvas.width = canvas.clientWidth * (window.devicePixelRatio || 1); canvas.height = canvas.clientHeight * (window.devicePixelRatio || 1);
    context.fillStyle = "#000004"; context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.frames.length) return;
    const image = Spectrogram.image(this.frames, this.analyzer.bins, this.high - 5, this.high), width = canvas.width * this.frames.length / (WINDOW_S * 100);
    context.imageSmoothingEnabled = false;
    context.drawImage(image, canvas.width - width, 0, width, canvas.height);
    for (const view of views.values()) view.place(this.sent / RATE);
  }
}

// ---- One stream at a time.

let session = null;

async function begin(source) {
  if (session) return;
  for (const view of views.values()) view.reset();
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/stream`), scroll = new Scroll();
  session = { socket, scroll, stop: () => {} };
  $("microphone").disabled = $("file").disabled = true; $("stop").disabled = false;
  socket.binaryType = "arraybuffer";
  let failed = "";
  socket.onmessage = event => {
    const message = JSON.parse(event.data);
    if (message.error) { failed = message.error; say(failed, true); } else if (message.model) views.get(message.model).take(message);
  };
  socket.onclose = () => { session.stop(); session = null; $("microphone").disabled = $("file").disabled = false; $("stop").disabled = true; if (!failed) say("Done."); };
  socket.onerror = () => { failed = failed || "The connection to the server failed."; say(failed, true); };
  const paint = () => { if (session) { scroll.draw(); requestAnimationFrame(paint); } };
  requestAnimationFrame(paint);
  try {
    await new Promise((resolve, reject) => { socket.onopen = resolve; socket.addEventListener("close", () => reject(new Error(failed || "The server closed the connection."))); });
    await source(socket, scroll);
  } catch (error) { failed = failed || error.message; say(failed, true); socket.close(); }
}

function send(socket, scroll, samples) {
  if (socket.readyState !== WebSocket.OPEN) return;
  const integers = new Int16Array(samples.length);
  for (let i = 0; i < samples.length; i++) integers[i] = Math.max(-32768, Math.min(32767, Math.round(samples[i] * 32768)));
  socket.send(integers.buffer);
  scroll.add(samples);
}

const end = socket => { if (socket.readyState === WebSocket.OPEN) socket.send("end"); };

// Blocks of samples from the audio thread, 20 ms each.
const WORKLET = `registerProcessor("samples", class extends AudioWorkletProcessor {
  constructor() { super(); this.block = new Float32Array(${Math.round(RATE / 50)}); this.at = 0; }
  process([input]) {
    for (const sample of input[0] || []) { this.block[this.at++] = sample; if (this.at === this.block.length) { this.port.postMessage(this.block.slice()); this.at = 0; } }
    return true;
  }
});`;

async function microphone(socket, scroll) {
  if (!navigator.mediaDevices) throw new Error("Browsers give the microphone to pages of this machine or of https alone.");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
  const context = new AudioContext({ sampleRate: RATE });
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" })));
  const node = new AudioWorkletNode(context, "samples");
  node.port.onmessage = event => send(socket, scroll, event.data);
  context.createMediaStreamSource(stream).connect(node);
  say("Listening.");
  session.stop = () => { stream.getTracks().forEach(t => t.stop()); if (context.state !== "closed") context.close(); };
  $("stop").onclick = () => { session.stop(); end(socket); say("Waiting for the last words."); };
}

function recording(file) {
  return async (socket, scroll) => {
    const decoded = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
    const mono = new Float32Array(decoded.length);
    for (let c = 0; c < decoded.numberOfChannels; c++) decoded.getChannelData(c).forEach((v, i) => { mono[i] += v / decoded.numberOfChannels; });
    const context = new AudioContext(), player = context.createBufferSource();
    player.buffer = decoded; player.connect(context.destination); player.start();
    const began = performance.now();
    let at = 0, stopped = false;
    session.stop = () => { stopped = true; if (context.state !== "closed") context.close(); };
    $("stop").onclick = () => { session.stop(); end(socket); };
    say(`Playing ${file.name}.`);
    while (at < mono.length && !stopped) {
      const due = Math.min(mono.length, Math.floor((performance.now() - began) / 1000 * RATE));
      if (due > at) { send(socket, scroll, mono.subarray(at, due)); at = due; }
      await new Promise(resolve => setTimeout(resolve, 20));
    }
    if (!stopped) { end(socket); say("Waiting for the last words."); }
  };
}

$("microphone").onclick = () => begin(microphone);
$("file").onclick = () => $("chooser").click();
$("chooser").onchange = () => { if ($("chooser").files.length) begin(recording($("chooser").files[0])); $("chooser").value = ""; };
new Scroll().draw();
