// Log-mel spectrograms of samples, drawn on a canvas.
"use strict";

const Spectrogram = (() => {
  // Nine points of matplotlib's magma; lighter is louder.
  const MAGMA = [[0,0,4],[28,16,68],[79,18,123],[129,37,129],[181,54,122],[229,80,100],[251,135,97],[254,194,135],[252,253,191]];

  function colour(x) {
    const place = Math.max(0, Math.min(1, x)) * (MAGMA.length - 1);
    const low = Math.min(Math.floor(place), MAGMA.length - 2), share = place - low;
    return MAGMA[low].map((v, i) => v + share * (MAGMA[low + 1][i] - v));
  }

  // In-place radix-2 Fourier transform; the length is a power of two.
  function fft(re, im) {
    const n = re.length;
    for (let i = 1, j = 0; i < n; i++) {
      let bit = n >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) { [re[i], re[j]] = [re[j], re[i]]; [im[i], im[j]] = [im[j], im[i]]; }
    }
    for (let size = 2; size <= n; size <<= 1) {
      const half = size >> 1, step = -2 * Math.PI / size;
      for (let k = 0; k < half; k++) {
        const c = Math.cos(step * k), s = Math.sin(step * k);
        for (let a = k; a < n; a += size) {
          const b = a + half, x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
          re[b] = re[a] - x; im[b] = im[a] - y; re[a] += x; im[a] += y;
        }
      }
    }
  }

  const mel = hz => 2595 * Math.log10(1 + hz / 700), hertz = m => 700 * (10 ** (m / 2595) - 1);

  class Analyzer {
    constructor(rate, bins = 64, hopMs = 10, windowMs = 25, lowHz = 60) {
      this.rate = rate; this.bins = bins;
      this.hop = Math.round(rate * hopMs / 1000);
      this.size = Math.round(rate * windowMs / 1000);
      this.fftSize = 1; while (this.fftSize < this.size) this.fftSize *= 2;
      this.window = Float32Array.from({ length: this.size }, (_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / this.size));
      const low = mel(lowHz), high = mel(rate / 2);
      this.edges = Array.from({ length: bins + 2 }, (_, i) => hertz(low + (high - low) * i / (bins + 1)) * this.fftSize / rate);
      this.re = new Float64Array(this.fftSize); this.im = new Float64Array(this.fftSize);
    }
    // Log energies of the frame that starts at a sample.
    frame(samples, start) {
      this.re.fill(0); this.im.fill(0);
      for (let i = 0; i < this.size && start + i < samples.length; i++) this.re[i] = samples[start + i] * this.window[i];
      fft(this.re, this.im);
      const out = new Float32Array(this.bins);
      for (let b = 0; b < this.bins; b++) {
        const [low, mid, high] = [this.edges[b], this.edges[b + 1], this.edges[b + 2]];
        let sum = 0, weight = 0;
        for (let k = Math.floor(low); k <= Math.ceil(high) && k <= this.fftSize / 2; k++) {
          const w = k < mid ? (k - low) / (mid - low) : (high - k) / (high - mid);
          if (w > 0) { sum += w * (this.re[k] ** 2 + this.im[k] ** 2); weight += w; }
        }
        if (!weight) { const k = Math.round(mid); sum = this.re[k] ** 2 + this.im[k] ** 2; weight = 1; }
        out[b] = Math.log10(sum / weight + 1e-7);
      }
      return out;
    }
    frames(samples) {
      const all = [];
      for (let start = 0; start < samples.length; start += this.hop) all.push(this.frame(samples, start));
      return all;
    }
  }

  // Paints frames one column each into an image, to be scaled onto a canvas.
  function image(frames, bins, low, high) {
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(frames.length, 1); canvas.height = bins;
    const context = canvas.getContext("2d"), data = context.createImageData(canvas.width, bins);
    frames.forEach((frame, t) => {
      for (let b = 0; b < bins; b++) {
        const [r, g, bl] = colour((frame[b] - low) / (high - low)), at = 4 * ((bins - 1 - b) * canvas.width + t);
        data.data[at] = r; data.data[at + 1] = g; data.data[at + 2] = bl; data.data[at + 3] = 255;
      }
    });
    context.putImageData(data, 0, 0);
    return canvas;
  }

  // The range of energies that is shown: from the 5th percentile, at most 60 dB, to the loudest.
  function range(frames) {
    const all = frames.flatMap(f => Array.from(f)).sort((a, b) => a - b);
    if (!all.length) return [0, 1];
    const high = all[all.length - 1];
    return [Math.max(all[Math.floor(0.05 * all.length)], high - 6), high];
  }

  return { Analyzer, image, range, colour };
})();
