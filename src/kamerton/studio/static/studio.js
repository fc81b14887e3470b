"use strict";
// What all pages share. Pages work without it; with it they follow what happens.

export const $ = (id) => document.getElementById(id);

/** Post a JSON object, and return the JSON that is answered; faults become one error. */
export async function post(path, body) {
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  return read(answer);
}

/** Read a JSON answer; an answer with faults is thrown as an error. */
export async function read(answer) {
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error((found.faults ?? [{ rule: answer.statusText }]).map(told).join("\n"));
  return found;
}

const told = (fault) => [fault.place, fault.rule].filter(Boolean).join(": ") + (fault.remedy ? `\n→ ${fault.remedy}` : "");

/** Put markup of the server into an element; keep what was ticked, opened and focused in it. */
export function put(id, html) {
  const place = $(id);
  if (!place) return;
  const key = (one) => [one.tagName, one.name, one.value, one.id, one.form?.action, one.getAttribute("popovertarget")].join(" ");
  const ticked = new Set([...place.querySelectorAll("input:checked")].map(key));
  const opened = new Set([...place.querySelectorAll("details[open]")].map((one) => one.id));
  const focused = place.contains(document.activeElement) ? key(document.activeElement) : null;
  const kept = place.scrollTop, atEnd = place.scrollHeight - place.scrollTop - place.clientHeight < 8;
  place.innerHTML = html; // rendered and escaped by the server
  for (const one of place.querySelectorAll("input")) if (ticked.has(key(one))) one.checked = true;
  for (const one of place.querySelectorAll("details[id]")) if (opened.has(one.id)) one.open = true;
  if (focused) [...place.querySelectorAll("a, button, input, select, summary")].find((one) => key(one) === focused)?.focus();
  place.scrollTop = place.dataset.follow !== undefined && atEnd ? place.scrollHeight : kept;
  place.dispatchEvent(new CustomEvent("put", { bubbles: true }));
}

/**
 * Follow a stream of the server, also when it was away for a while; return how to end that.
 * Only while the page is seen: a browser holds six connections to a server, and no seventh page would load.
 */
export function follow(url, take) {
  let source = null, last = "", ended = false;
  const close = () => { source?.close(); source = null; };
  const open = () => {
    if (source || ended || document.hidden) return;
    source = new EventSource(last ? `${url}${url.includes("?") ? "&" : "?"}after=${encodeURIComponent(last)}` : url);
    source.onmessage = (event) => {
      last = event.lastEventId || last;
      take(JSON.parse(event.data));
    };
    source.onerror = () => {
      if (source?.readyState !== EventSource.CLOSED) return; // else the browser tries again by itself
      close();
      setTimeout(open, 2000);
    };
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  open();
  return () => { ended = true; close(); };
}

/** Follow a stream of fragments: `{id, html}` goes into the element, `{go}` leads to another page. */
export function fragments(url) {
  return follow(url, (event) => {
    if (event.go) location.assign(event.go);
    else put(event.id, event.html);
  });
}

for (const place of document.querySelectorAll("[data-stream]")) fragments(place.dataset.stream);
for (const form of document.querySelectorAll("form.filters")) {
  form.addEventListener("change", (event) => { if (event.target.matches("select")) form.requestSubmit(); });
}
for (const place of document.querySelectorAll("[data-follow]")) place.scrollTop = place.scrollHeight;
