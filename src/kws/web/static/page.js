// The page: what a person sees and presses. The model and its rule are in spotter.js, the sound in microphone.js.

import {Microphone, MicrophoneError} from "./microphone.js";
import {Detector, Sound, load} from "./spotter.js";

const SHOWN_MS = 1500; // a word stands out so long
const METER_DB = 60; // the meter goes from -METER_DB to full scale
const MOST_BEHIND_SECONDS = 2; // of sound that waits for the network; more is lost
const BUSY_MS = 50; // while a file is read, the browser gets its turn after that
const LIKELIEST = 3; // classes of a clip
const MOST_ROWS = 100; // the newest words from the microphone, which may be on for days

const element = (id) => document.getElementById(id);
const rounded = (value) => Number(value.toPrecision(3));
const percent = (share) => `${(100 * share).toFixed(1)} %`;

let settings; // kws.json
let rate; // of the model's sound, in Hz
let threshold;
let detector; // of the sound that is heard, or was heard last
let answers = []; // to the windows of a file: another threshold looks at them again
let fading; // the timer of the word that stands out
let stop; // ends what is heard now; undefined: nothing is

start().catch((error) => say(`This page does not work here: ${error.message}`));

async function start() {
  const answer = await fetch("kws.json");
  if (!answer.ok) throw new Error(`kws.json: ${answer.status} ${answer.statusText}`);
  settings = await answer.json();
  rate = settings.about.front_end.sample_rate;
  element("words").append(...settings.words.map((word) => withText("li", named(word))));
  offerSensitivities();
  await load();
  element("listen").onclick = () => (stop ? stop() : listen());
  element("open").onclick = () => element("file").click();
  element("file").onchange = () => {
    const [file] = element("file").files;
    if (file) read(file);
    element("file").value = ""; // so that the same file can be chosen again
  };
  for (const id of ["listen", "open"]) element(id).disabled = false;
  end("Press Listen, and say one of these words.");
}

// --- Sensitivity

function offerSensitivities() {
  for (const name of Object.keys(settings.about.sensitivities ?? {})) {
    const input = Object.assign(document.createElement("input"), {type: "radio", name: "sensitivity", value: name});
    input.checked = name === "balanced";
    input.onchange = () => choose(name);
    const label = document.createElement("label");
    label.append(input, name.replaceAll("_", " "));
    element("sensitivity").append(label);
    element("sensitivity").hidden = false;
  }
  choose("balanced");
}

function choose(name) {
  const level = settings.about.sensitivities?.[name];
  threshold = level?.threshold ?? settings.about.threshold;
  element("threshold").style.setProperty("--place", threshold);
  element("meaning").textContent = `Threshold ${rounded(threshold)}.${level ? measured(level) : ""}`;
  if (answers.length) {
    forget();
    for (const probabilities of answers) show(probabilities);
  }
}

// What the stream of the test says of a sensitivity.
function measured(level) {
  const {measured_with: network, kind} = settings.about;
  const by = kind === network ? "" : `, with the ${network} network`;
  const missed = "test_missed" in level ? `, ${percent(level.test_missed)} of the words missed` : "";
  return ` In the test${by}: ${rounded(level.test_false_alarms_an_hour)} false alarms an hour${missed}.`;
}

// --- What is heard: the microphone, or a file

async function listen() {
  begin("listening", "Listening …");
  let sound, microphone;
  let queue = Promise.resolve(); // the work on the blocks so far
  let waiting = 0; // samples that wait for the network
  let lost = 0;
  const mine = (stop = () => {
    stop = undefined;
    microphone?.close();
    queue.finally(() => sound?.delete());
    end("");
  });

  const recognise = async (block) => {
    for await (const probabilities of sound.push(block)) if (stop === mine) show(probabilities);
    waiting -= block.length;
  };
  const hear = (block) => {
    if (stop !== mine) return;
    showLevel(block);
    if (waiting <= MOST_BEHIND_SECONDS * rate) {
      waiting += block.length;
      queue = queue.then(() => recognise(block)).catch((error) => fail(mine, error.message));
    } else {
      lost += block.length;
      say(`This device is too slow for this model: ${Math.ceil(lost / rate)} s of sound are lost.`);
    }
  };
  try {
    sound = await Sound.create(settings);
    const gone = () => fail(mine, "The microphone was taken away.");
    if (stop === mine) microphone = await Microphone.open(rate, hear, gone);
    if (stop !== mine) { // stopped meanwhile: the browser asks people, who take their time
      microphone?.close();
      sound.delete();
    }
  } catch (error) {
    fail(mine, error instanceof MicrophoneError ? `${error.message} Sound files work here, too.` : error.message);
  }
}

async function read(file) {
  stop?.();
  begin("reading", `Reading ${file.name} …`);
  const mine = (stop = () => {
    stop = undefined;
    end("Stopped.");
  });
  try {
    const samples = await decoded(file);
    const sound = await Sound.create(settings);
    let heard;
    try {
      if (samples.length <= settings.longest_clip_samples) heard = showClip(await sound.clip(samples));
      else heard = await readStream(sound, samples, () => stop === mine);
    } finally {
      sound.delete();
    }
    if (stop !== mine) return;
    stop();
    element("detail").textContent = `${file.name}: ${heard}`;
  } catch (error) {
    fail(mine, `${file.name}: ${error.message}`);
  }
}

// Ends what is heard, if it is still this, and says why.
function fail(mine, reason) {
  if (stop !== mine) return;
  stop();
  element("detail").textContent = "";
  say(reason);
}

async function readStream(sound, samples, wanted) {
  let worked = performance.now();
  for await (const probabilities of windows(sound, samples)) {
    if (!wanted()) return;
    answers.push(probabilities);
    show(probabilities);
    if (performance.now() - worked > BUSY_MS) {
      element("detail").textContent = `${clock(seconds(answers.length))} of ${clock(samples.length / rate)}`;
      await turn();
      worked = performance.now();
    }
  }
  const found = element("rows").childElementCount;
  return `${clock(samples.length / rate)}, ${found || "no"} word${found === 1 ? "" : "s"}`;
}

async function* windows(sound, samples) {
  for (let at = 0; at < samples.length; at += rate) yield* sound.push(samples.subarray(at, at + rate));
  yield* sound.end();
}

// The samples of a file at the model's rate, which the browser decodes and resamples; channels become their mean.
async function decoded(file) {
  let buffer;
  try {
    buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error("no sound that this browser can read.");
  }
  const channels = Array.from({length: buffer.numberOfChannels}, (_, channel) => buffer.getChannelData(channel));
  const samples = channels[0].map((_, i) => channels.reduce((sum, each) => sum + each[i], 0) / channels.length);
  if (samples.every((sample) => sample === samples[0])) throw new Error("silent: every sample is the same.");
  return samples;
}

// Lets the browser draw and take clicks. Timers would wait a second in a page that is not in front.
function turn() {
  return new Promise((resolve) => {
    const {port1, port2} = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage("");
  });
}

// --- What is shown

function begin(state, detail) {
  document.body.dataset.state = state;
  answers = [];
  forget();
  element("message").hidden = true;
  element("listen").textContent = "Stop";
  element("detail").textContent = detail;
}

function end(detail) {
  document.body.dataset.state = "ready";
  element("listen").textContent = "Listen";
  element("detail").textContent = detail;
  showShare("level", 0, -METER_DB);
  showShare("score", 0, 0);
}

// A new sound, or the same one with another threshold.
function forget() {
  detector = new Detector(settings);
  element("rows").replaceChildren();
  element("history").hidden = true;
  element("word").textContent = "\u00a0";
  light(undefined);
}

// Shows the next window: its likeliest word, and whether it is detected.
function show(probabilities) {
  const {window, word, score, detected} = detector.push(probabilities, threshold);
  showShare("score", score, score);
  element("score").classList.toggle("above", score >= threshold);
  if (detected) showWord(word, score, seconds(window));
}

// A file as long as a clip has one answer, whatever the threshold: its likeliest classes.
function showClip(probabilities) {
  const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]).slice(0, LIKELIEST);
  showWord(order[0], probabilities[order[0]], 0);
  return `one clip: ${order.map((index) => `${named(index)} ${percent(probabilities[index])}`).join(", ")}`;
}

function showWord(word, score, start) {
  element("word").textContent = named(word);
  element("word").classList.remove("past");
  light(word);
  clearTimeout(fading);
  fading = setTimeout(() => {
    element("word").classList.add("past");
    light(undefined);
  }, SHOWN_MS);
  const row = document.createElement("tr");
  Object.assign(row.dataset, {start, word: settings.about.classes[word], score});
  row.append(withText("td", clock(start)), withText("td", named(word)), withText("td", percent(score)));
  element("rows").prepend(row);
  const {childElementCount: count, lastElementChild: oldest} = element("rows");
  if (document.body.dataset.state === "listening" && count > MOST_ROWS) oldest.remove();
  element("history").hidden = false;
}

// Marks one of the words that the page listens for.
function light(word) {
  [...element("words").children].forEach((chip, place) => chip.classList.toggle("heard", settings.words[place] === word));
}

function showLevel(block) {
  const power = block.reduce((sum, sample) => sum + sample * sample, 0) / block.length;
  const decibels = Math.max(-METER_DB, 10 * Math.log10(power));
  showShare("level", 1 + decibels / METER_DB, decibels);
}

function showShare(id, share, value) {
  element(id).style.setProperty("--share", Math.min(1, share));
  element(id).setAttribute("aria-valuenow", value.toFixed(2));
}

function say(text) {
  element("message").textContent = text;
  element("message").hidden = false;
}

// --- Texts

// When a window starts.
function seconds(window) {
  return (window * settings.timing.step_samples) / rate;
}

function clock(seconds) {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const rest = (seconds % 60).toFixed(1).padStart(4, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

// Classes such as _unknown_ are no words.
function named(index) {
  return settings.about.classes[index].replace(/^_(.*)_$/, "$1");
}

function withText(tag, text) {
  return Object.assign(document.createElement(tag), {textContent: text});
}
