"use strict";
// The run's model beside another one: asks both, shows what they answer, and keeps what people say of it.
import { $, post, put } from "./studio.js";
import { checked, pieces } from "./stream.js";
import "./keys.js";

const trial = $("trial"), told = $("told"), text = $("text");
const percent = new Intl.NumberFormat(document.documentElement.lang, { style: "percent", maximumFractionDigits: 1 });
const given = text.value;
let models = null, running = null, shown = null;

const tell = (words) => { told.textContent = words; told.classList.remove("wrong"); };

async function asked(endpoint, body) {
  const response = await fetch(trial.dataset.ask.replace("ENDPOINT", endpoint), {
    method: "POST", headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(body), signal: running.signal,
  });
  if (response.status === 422) throw new Error((await response.json()).faults.map((one) => one.rule).join("\n"));
  return checked(response);
}

/** Return the test row as the model takes it, if the text is still that of the row. */
function row() {
  if (!trial.dataset.row || text.value !== given) return null;
  const fields = Object.entries(JSON.parse(trial.dataset.row));
  return Object.fromEntries(fields.filter(([role]) => models.tuned.roles.slice(0, -1).includes(role)));
}

const can = (model, endpoint) => model?.endpoints.includes(endpoint);

/** Return how the models are asked: as a conversation, as rows, or by a text that goes on. */
function way() {
  if (can(models.tuned, "chat/completions")) return "chat/completions";
  return models.tuned.answers !== "likelihood" || !can(models.tuned, "completions") ? "classify" : "completions";
}

async function write(place, endpoint, body) {
  place.textContent = "";
  place.classList.remove("blank");
  for await (const piece of pieces(await asked(endpoint, { ...body, stream: true }))) place.textContent += piece;
  place.classList.toggle("blank", !place.textContent.trim());
  return place.textContent;
}

async function classify(place, model, input) {
  const answer = await (await asked("classify", { model: model.id, input })).json(), [one] = answer.data;
  const shares = (one.probs ?? []).map((share, at) => [share, answer.labels[at]]).sort((a, b) => b[0] - a[0]);
  const said = document.createElement("p");
  said.className = "text";
  said.textContent = one.label;
  place.replaceChildren(said, ...shares.slice(0, 12).map(bar));
  return one.label;
}

function bar([share, label]) {
  const line = document.createElement("label"), name = document.createElement("span"), figure = document.createElement("span");
  const meter = Object.assign(document.createElement("meter"), { value: share });
  [name.textContent, figure.textContent, figure.className, line.className] = [label, percent.format(share), "n", "share"];
  line.append(name, meter, figure);
  return line;
}

async function answers() {
  const input = row() ?? text.value, left = $("left"), right = $("right"), { tuned, beside } = models;
  let how = way(), prompt = text.value;
  if (how === "chat/completions") {
    prompt = row() ? (await (await asked("messages", { model: tuned.id, input })).json()).data[0].messages
      : [{ role: "user", content: text.value }];
    if (!prompt.length) how = "classify"; // a row with more than a message holds
  }
  if (how === "classify") {
    const both = [classify(left, tuned, input)];
    if (trial.dataset.beside && can(beside, "classify")) both.push(classify(right, beside, input));
    else if (row() && right.dataset.contender) both.push(right.textContent = right.dataset.recorded);
    else right.textContent = right.dataset.alone;
    return { how, input, said: await Promise.all(both) };
  }
  const field = how === "completions" ? "prompt" : "messages", rest = how === "completions" ? { max_tokens: 128 } : {};
  const both = [tuned, ...(can(beside, how) ? [beside] : [])].map((model, at) =>
    write([left, right][at], how, { model: model.id, [field]: prompt, ...rest }));
  return { how, prompt, said: await Promise.all(both) };
}

async function ask() {
  running?.abort();
  const mine = running = new AbortController();
  const busy = (on) => { $("stop").hidden = !on; $("go").disabled = on; };
  for (const id of ["rate-pair", "rate-label", "correct"]) $(id).hidden = true;
  busy(true);
  try {
    if (!models) {
      tell(told.dataset.loading);
      models = await post(trial.dataset.load, {});
      trial.dataset.state = "ready";
      if (models.beside && way() !== "classify" && !trial.dataset.beside) $("beside-name").textContent = models.beside.id;
    }
    tell(told.dataset.writing);
    shown = await answers();
    tell("");
    rate();
  } catch (error) {
    tell(error.name === "AbortError" ? "" : error.name === "TypeError" ? told.dataset.lost : error.message);
    told.classList.toggle("wrong", error.name !== "AbortError");
    if (error.name !== "AbortError") models = null; // the next time the process may be started anew
  } finally {
    if (running === mine) { running = null; busy(false); }
  }
}

function rate() {
  if (shown.how !== "classify") {
    $("rate-pair").hidden = shown.said.length < 2;
    return;
  }
  $("labels").replaceChildren(...models.tuned.labels.map((label) => new Option(label, label)));
  $("rate-label").hidden = false;
}

/** Return the name of what stands beside: another run, the base, or the contender whose answer was recorded. */
function other() {
  if (shown.said.length < 2) return "";
  return trial.dataset.beside || (shown.how === "classify" ? $("right").dataset.contender : models.beside.id);
}

async function keep(judgment) {
  const kept = await post(trial.dataset.say, { beside: other(), ...judgment });
  tell(kept.told);
  put("kept", kept.html);
  for (const id of ["rate-pair", "rate-label"]) $(id).hidden = true; // one judgment for one answer
}

function keepRight(right) {
  const roles = models.tuned.roles, answer = roles.at(-1), { input, said } = shown;
  const rows = typeof input === "string" ? { [roles[0]]: input } : input;
  return keep({ right: { row: rows, role: answer, kind: models.tuned.answers, answers: said, right } });
}

function safely(act) {
  return async (event) => {
    event?.preventDefault?.();
    try { await act(event); } catch (error) { tell(error.message); told.classList.add("wrong"); }
  };
}

for (const button of document.querySelectorAll("#rate-pair [data-choice]")) {
  button.addEventListener("click", safely(() =>
    keep({ preferred: { prompt: shown.prompt, answers: shown.said, choice: button.dataset.choice } })));
}
$("is-right").addEventListener("click", safely(() => keepRight(shown.said[0])));
$("is-wrong").addEventListener("click", safely(() => {
  const others = models.tuned.labels.filter((label) => label !== shown.said[0]);
  if (models.tuned.answers === "class" && others.length === 1) return keepRight(others[0]);
  $("correct").hidden = false;
  $("correction").value = "";
  $("correction").focus();
}));
$("correct").addEventListener("submit", safely(() => keepRight($("correction").value)));
$("ask").addEventListener("submit", safely(ask));
$("stop").addEventListener("click", () => running?.abort());
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("ask").requestSubmit();
});
addEventListener("pagehide", () => running?.abort());
if (trial.dataset.row && trial.dataset.state === "ready") ask();
