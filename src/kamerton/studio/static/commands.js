"use strict";
// Send a file that a command takes, and show it in the list to choose from.
import { read } from "./studio.js";

for (const input of document.querySelectorAll("[data-send]")) {
  input.addEventListener("change", async () => {
    const [file] = input.files, told = input.nextElementSibling;
    try {
      told.textContent = "…";
      const headers = { Accept: "application/json" };
      const path = `${input.dataset.send}?name=${encodeURIComponent(file.name)}`;
      await read(await fetch(path, { method: "POST", headers, body: file }));
      location.reload();
    } catch (error) {
      told.textContent = error.message;
      input.value = "";
    }
  });
}
