"use strict";
// Send a file as soon as it is chosen or dropped, and show how far that is.
import { $ } from "./studio.js";

const drop = $("drop"), file = $("file");

function send(chosen) {
  const request = new XMLHttpRequest(); // fetch does not tell how much was sent
  const show = (sending) => { drop.hidden = sending; $("sending").hidden = !sending; };
  const refuse = (text) => { show(false); file.value = ""; $("refused").textContent = text; };
  $("refused").textContent = "";
  $("sending-name").textContent = chosen.name;
  $("abort").onclick = () => request.abort();
  request.upload.onprogress = (event) => { if (event.lengthComputable) $("sent").value = event.loaded / event.total; };
  request.onabort = () => refuse("");
  request.onerror = () => refuse(drop.dataset.lost);
  request.onload = () => {
    const answer = JSON.parse(request.responseText || "{}");
    if (answer.go) return location.assign(answer.go);
    refuse((answer.faults ?? []).map((one) => [one.place, one.rule].filter(Boolean).join(": ") + (one.remedy ? `\n→ ${one.remedy}` : "")).join("\n"));
  };
  request.open("POST", `/new/file?name=${encodeURIComponent(chosen.name)}`);
  request.setRequestHeader("Accept", "application/json");
  show(true);
  request.send(chosen);
}

if (drop) {
  file.addEventListener("change", () => file.files[0] && send(file.files[0]));
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault(); // the browser would show the file instead
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
    });
  }
}

/** Show the settings of the chosen method alone; those of others are not sent. */
function showMethod() {
  const form = $("start");
  if (!form) return;
  const chosen = form.elements["method.name"].value || form.dataset.method;
  for (const one of form.querySelectorAll("[data-method]")) one.hidden = one.disabled = one.dataset.method !== chosen;
}

showMethod();
document.addEventListener("put", showMethod);
document.addEventListener("change", (event) => { if (event.target.name === "method.name") showMethod(); });
// a form is sent once: two clicks would start two runs
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
addEventListener("pageshow", () => { for (const form of document.forms) delete form.dataset.sent; });
