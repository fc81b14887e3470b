"use strict";
// Chats with a model that writes, and shows the labels of one that classifies.
import { checked, pieces } from "./stream.js";

const $ = (id) => document.getElementById(id);
const words = document.body.dataset;
const figure = new Intl.NumberFormat(document.documentElement.lang, { minimumFractionDigits: 3, maximumFractionDigits: 3 });
let turns = [], models = {}, running = null;

function headers() {
  const key = $("key").value.trim();
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

function show(kind, text) {
  const turn = document.createElement("div");
  turn.className = `turn ${kind}`;
  turn.textContent = text;
  $("answers").append(turn);
  return turn;
}

async function asked(path, body) {
  running = new AbortController();
  return checked(await fetch(path, {
    method: "POST", headers: headers(), body: JSON.stringify(body), signal: running.signal,
  }));
}

async function list() {
  const response = await fetch("/v1/models", { headers: headers() });
  if (!response.ok) return;
  models = Object.fromEntries((await response.json()).data.map((one) => [one.id, one]));
  $("model").replaceChildren(...Object.keys(models).map((name) => new Option(name, name)));
}

async function chat(model, text) {
  if (models[model].one_message) turns = [];
  turns.push({ role: "user", content: text });
  const response = await asked("/v1/chat/completions", { model, messages: turns, stream: true });
  const turn = show("assistant", "");
  for await (const piece of pieces(response)) turn.textContent += piece;
  turns.push({ role: "assistant", content: turn.textContent });
}

async function complete(model, text) {
  const answer = await (await asked("/v1/completions", { model, prompt: text, max_tokens: 64 })).json();
  show("assistant", answer.choices[0].text);
}

async function classify(model, text) {
  const answer = await (await asked("/v1/classify", { model, input: text })).json();
  const one = answer.data[0], turn = show("assistant", one.label);
  const shares = (one.probs ?? []).map((share, at) => [share, answer.labels[at]]).sort((a, b) => b[0] - a[0]);
  if (shares.length) {
    const about = document.createElement("div");
    about.className = "about";
    about.textContent = shares.slice(0, 10).map(([share, label]) => `${label} ${figure.format(share)}`).join("; ");
    turn.append(about);
  }
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (running) return running.abort();
  const text = $("text").value, model = $("model").value, can = models[model]?.endpoints ?? [];
  show("user", text);
  $("text").value = "";
  $("send").textContent = words.stop;
  try {
    await (can.includes("chat/completions") ? chat : can.includes("completions") ? complete : classify)(model, text);
  } catch (error) {
    if (error.name !== "AbortError") show("error", error.message || words.failed);
  } finally {
    running = null;
    $("send").textContent = words.send;
  }
});
$("clear").addEventListener("click", () => { turns = []; $("answers").replaceChildren(); });
$("model").addEventListener("change", () => { turns = []; });
$("key").addEventListener("change", list);
list();
