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
    network.length = network.model.getInputDetails()[0].shape[1]; // samples that it takes at a time: a clip, or a step
    return network;
  }

  // Float32Array of samples -> Float32Array of the probabilities of the classes.
  async probabilities(samples) {
    const input = new Tensor(samples, [1, this.length]);
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

// The windows of one sound. A window is a clip long, and the next one starts a step later.
export class Sound {
  static async create(settings) {
    const sound = new Sound();
    sound.network = await Network.create();
    sound.clipLength = settings.about.front_end.clip_samples;
    sound.step = settings.timing.step_samples;
    sound.length = sound.network.length;
    // A network that hears step by step has heard this before it hears the end of the first window.
    const before = sound.clipLength - sound.length;
    sound.meaningless = Math.ceil(before / sound.step); // answers until then
    sound.heard = new Float32Array(sound.meaningless * sound.step - before); // from the start of the next piece on
    sound.samples = 0;
    return sound;
  }

  // Yields the probabilities of each window that is complete now.
  async *push(samples) {
    this.samples += samples.length;
    yield* this.answers(samples);
  }

  // The end of the sound: zeros fill its last window.
  async *end() {
    const steps = Math.max(0, Math.ceil((this.samples - this.clipLength) / this.step));
    if (this.samples) yield* this.answers(new Float32Array(this.clipLength + steps * this.step - this.samples));
  }

  async *answers(samples) {
    this.heard = joined(this.heard, samples);
    while (this.heard.length >= this.length) {
      const probabilities = await this.network.probabilities(this.heard.subarray(0, this.length));
      this.heard = this.heard.slice(this.step);
      if (this.meaningless) this.meaningless--;
      else yield probabilities;
    }
  }

  // The probabilities of a sound as one clip: cut, or padded with zeros, to a window.
  async clip(samples) {
    const steps = Math.ceil(this.clipLength / this.length);
    const whole = new Float32Array(steps * this.length); // zeros before it, so that a step ends with the clip
    whole.set(samples.subarray(0, this.clipLength), whole.length - this.clipLength);
    let probabilities;
    for (let at = 0; at < whole.length; at += this.length) {
      probabilities = await this.network.probabilities(whole.subarray(at, at + this.length));
    }
    return probabilities;
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
    threshold = Math.fround(threshold); // scores are float32, and Python compares both as float32
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
