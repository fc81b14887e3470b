"use strict";
// Press what has one of these keys: `data-keys="1 ArrowLeft"`. Whoever is writing is not disturbed.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.matches?.("input, textarea, select, [contenteditable]")) return;
  const found = [...document.querySelectorAll("[data-keys]")]
    .find((one) => one.dataset.keys.split(" ").includes(event.key) && !one.disabled && one.offsetParent);
  if (!found) return;
  event.preventDefault();
  found.click();
});
