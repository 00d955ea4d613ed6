// From sound to words, as `kws listen` does it: kws/spotting/spotter.py and kws/spotting/detect.py have the same in
// Python, and tests compare both. `settings` is kws.json.

import {Tensor, loadAndCompile, loadLiteRt} from "@litertjs/core";
import {joined} from "./resampler.js";

let content; // of the LiteRT file

// Loads LiteRT.js and the model; rejects if one of them is not there.
export async function load() {
  // Emscripten takes this object. LiteRT prints all that it has to say as errors.
  window.Module = {printErr: (line) => (line.startsWith("ERROR") ? console.error : console.debug)(line)};
  const answer = await fetch("model.tflite");
  if (!answer.ok) throw new Error(`model.tflite: ${answer.status} ${answer.statusText}`);
  content = new Uint8Array(await answer.arrayBuffer());
  await loadLiteRt("litert/");
}

class Network {
  // A new one for each sound: a network that hears step by step keeps what it has heard.
  static async create() {
    const network = new Network();
    network.model = await loadAndCompile(content, {accelerator: "wasm"});
    network.shape = Array.from(network.model.getInputDetails()[0].shape);
    return network;
  }

  // Float32Array of samples -> Float32Array of probabilities.
  async probabilities(samples) {
    const input = new Tensor(samples, this.shape);
    const [output] = await this.model.run(input);
    const values = output.toTypedArray();
    input.delete();
    output.delete();
    return values;
  }

  delete() {
    this.model.delete();
  }
}

// The windows of one sound, and the probabilities of the classes in each.
export class Sound {
  static async create(settings) {
    const sound = new Sound();
    sound.network = await Network.create();
    sound.window = settings.about.front_end.clip_samples;
    sound.step = settings.timing.step_samples;
    sound.heard = new Float32Array(0); // from the start of the next window on
    sound.covered = 0; // so much of it was in the last window
    return sound;
  }

  // Yields the probabilities of each window that is complete now.
  async *push(samples) {
    this.heard = joined(this.heard, samples);
    while (this.heard.length >= this.window) {
      yield await this.network.probabilities(this.heard.subarray(0, this.window));
      this.heard = this.heard.slice(this.step);
      this.covered = this.window - this.step;
    }
  }

  // The end of the sound: zeros fill its last window.
  async *end() {
    if (this.heard.length > this.covered) yield await this.clip(this.heard);
  }

  // The probabilities of a sound as one clip: cut, or padded with zeros, to a window.
  clip(samples) {
    const clip = new Float32Array(this.window);
    clip.set(samples.subarray(0, this.window));
    return this.network.probabilities(clip);
  }

  delete() {
    this.network.delete();
  }
}

// The rule of detection: see docs/evaluation.md.
export class Detector {
  constructor(settings) {
    this.words = settings.words;
    this.timing = settings.timing;
    this.newest = []; // as many windows as a word must be held
    this.told = new Set(); // words whose score has not been below the threshold since they were detected
    this.window = -1;
    this.free = 0; // the window from which on a word may be detected
  }

  // The highest word of the next window; `detected` if it is a detection.
  push(probabilities, threshold) {
    this.window++;
    this.newest.push(probabilities);
    if (this.newest.length > this.timing.held) this.newest.shift();
    const score = (word) => Math.min(...this.newest.map((each) => each[word]));
    this.told = new Set([...this.told].filter((word) => score(word) >= threshold));
    const word = this.words.reduce((best, each) => (score(each) > score(best) ? each : best));
    const detected = score(word) >= threshold && !this.told.has(word) && this.window >= this.free;
    if (detected) {
      this.told.add(word);
      this.free = this.window + this.timing.apart;
    }
    return {window: this.window, word, score: score(word), detected};
  }
}
