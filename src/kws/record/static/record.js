// The page: what a person reads, says and presses. The microphone is that of `kws web`; this machine checks the takes.

import {Microphone} from "./microphone.js";

const METER_DB = 60; // the meter goes from -METER_DB to full scale
const element = (id) => document.getElementById(id);

let settings; // settings.json
let hear; // takes each block of sound; undefined: nobody listens
let answer; // takes "keep", "again" or "quit"; undefined: nothing is asked
let player; // the AudioContext in which takes are played

start().catch((error) => say(`This page does not work here: ${error.message}`));

async function start() {
  settings = await ask("settings.json");
  element("speaker").value = settings.speaker;
  element("who").onsubmit = (event) => {
    event.preventDefault();
    session(element("speaker").value);
  };
  for (const id of ["keep", "again", "quit"]) element(id).onclick = () => answer?.(id);
  element("start").disabled = false;
  state("who");
}

// Records with one speaker, until all is there, the speaker stops, or something fails.
async function session(name) {
  say("");
  element("problems").replaceChildren();
  element("start").disabled = true;
  player ??= new AudioContext(); // while the button is pressed: else browsers play nothing
  let microphone;
  try {
    let {speaker, todo} = await ask("todo", {speaker: name});
    if (todo.length) {
      let gone; // rejects when the microphone is taken away
      const lost = new Promise((_, reject) => (gone = () => reject(new Error("The microphone was taken away."))));
      lost.catch(() => {}); // between two takes, nobody waits for it
      microphone = await Microphone.open(settings.rate, (block) => hear?.(block), gone);
      element("who").hidden = true;
      element("controls").hidden = false;
      while (todo.length && (await Promise.race([take(speaker, todo), lost]))) {
        ({todo} = await ask("todo", {speaker}));
      }
    }
    element("step").textContent = "\u00a0";
    show("\u00a0", todo.length ? `${todo.length} takes of ${speaker} are missing. Start goes on.` : `All takes of ${speaker} are there. Thank you.`);
  } catch (error) {
    show("\u00a0", "");
    say(error.message);
  } finally {
    hear = answer = undefined;
    microphone?.close();
    showLevel(new Float32Array(1));
    element("who").hidden = false;
    element("controls").hidden = true;
    element("start").disabled = false;
    state("who");
  }
}

// One take, until it is kept or made again. Whether the speaker goes on.
async function take(speaker, todo) {
  const [{word, number, wanted, samples: length}] = todo;
  const named = word.startsWith("_") ? "the room" : word;
  element("step").textContent = `${named} · ${number} of ${wanted} · ${todo.length} to go`;
  element("problems").replaceChildren();
  const quit = new Promise((resolve) => (answer = (pressed) => pressed === "quit" && resolve()));
  const samples = await Promise.race([heard(named, length, word.startsWith("_")), quit]);
  hear = undefined;
  if (!samples) return false;

  state("checking");
  const checked = await ask("check", {speaker, word}, samples);
  const kept = samples.slice(checked.start, checked.end);
  show(named, checked.problems.length ? "" : `Good: ${checked.about}.`);
  element("problems").append(...checked.problems.map((text) => Object.assign(document.createElement("li"), {textContent: text})));
  let playing = play(kept);
  element("hear").onclick = () => {
    playing?.stop();
    playing = play(kept);
  };
  const pressed = await asked(checked.problems.length ? "again" : "keep", kept.length);
  playing?.stop();
  if (pressed === "keep") await ask("keep", {speaker, word}, samples);
  return pressed !== "quit";
}

// The samples of a take, with its countdown; of the room, all of it.
function heard(named, length, isRoom) {
  const samples = new Float32Array(length);
  let filled = 0;
  return new Promise((resolve) => {
    hear = (block) => {
      const part = block.subarray(0, length - filled);
      samples.set(part, filled);
      filled += part.length;
      showLevel(block);
      const count = settings.counts - Math.floor(filled / settings.count_samples);
      if (isRoom) progress("saying", named, `Nobody speaks. ${Math.ceil((length - filled) / settings.rate)} s`);
      else if (count > 0) progress("counting", named, `${count} …`);
      else progress("saying", named, "Say it now.");
      if (filled === length) resolve(samples);
    };
  });
}

// What the speaker presses; the usual answer has the focus.
async function asked(usual, usable) {
  for (const id of ["keep", "again", "hear"]) element(id).disabled = id !== "again" && !usable;
  for (const id of ["keep", "again"]) element(id).classList.toggle("usual", id === usual);
  state("asking");
  element(usual).focus();
  const pressed = await new Promise((resolve) => (answer = resolve));
  for (const id of ["keep", "again", "hear"]) element(id).disabled = true;
  return pressed;
}

function play(samples) {
  if (!samples.length) return undefined;
  const buffer = player.createBuffer(1, samples.length, settings.rate);
  buffer.copyToChannel(samples, 0);
  const source = player.createBufferSource();
  source.buffer = buffer;
  source.connect(player.destination);
  source.start();
  return source;
}

// Asks this page's server. A take goes with it as float32.
async function ask(name, query = {}, samples) {
  let reply;
  try {
    reply = await fetch(`${name}?${new URLSearchParams(query)}`, samples && {method: "POST", body: samples});
  } catch {
    throw new Error("kws record does not answer. Is it running, and this device in its network?");
  }
  if (!reply.ok) throw new Error(await reply.text());
  return reply.json();
}

function progress(now, word, detail) {
  state(now);
  show(word, detail);
}

function state(now) {
  document.body.dataset.state = now;
}

function show(word, detail) {
  element("word").textContent = word;
  element("detail").textContent = detail;
}

function showLevel(block) {
  const power = block.reduce((sum, sample) => sum + sample * sample, 0) / block.length;
  const decibels = Math.max(-METER_DB, 10 * Math.log10(power));
  element("level").style.setProperty("--share", Math.min(1, 1 + decibels / METER_DB));
  element("level").setAttribute("aria-valuenow", decibels.toFixed(2));
}

function say(text) {
  element("message").textContent = text;
  element("message").hidden = !text;
}
