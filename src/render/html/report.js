"use strict";
(() => {
  const items = [...document.querySelectorAll("[data-item]")].map((card) => ({ card, text: card.textContent.toLowerCase() }));
  const find = document.getElementById("find");
  const shows = [...document.querySelectorAll("[data-show]")];
  const none = document.getElementById("none");
  const apply = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = new Set(shows.filter((box) => box.checked).map((box) => box.dataset.show));
    let any = items.length === 0;
    for (const { card, text } of items) {
      const match = shown.has(card.dataset.severity) && words.every((word) => text.includes(word));
      card.hidden = !match;
      any = any || match;
    }
    none.hidden = any;
  };
  find.addEventListener("input", apply);
  shows.forEach((box) => box.addEventListener("change", apply));
  find.form.addEventListener("submit", (event) => event.preventDefault());

  const details = () => document.querySelectorAll("details");
  const unfold = document.getElementById("unfold");
  unfold.addEventListener("click", () => {
    const open = [...details()].some((part) => !part.open);
    details().forEach((part) => { part.open = open; });
    unfold.textContent = open ? "Fold all" : "Unfold all";
  });
  addEventListener("beforeprint", () => document.querySelectorAll("details.effect, details.more").forEach((part) => { part.open = true; }));
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let part = target; part; part = part.parentElement) {
      if (part.tagName === "DETAILS") part.open = true;
      part.hidden = false;
    }
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  for (const box of document.querySelectorAll("[data-box]")) {
    const curves = document.querySelectorAll(`[data-from="${box.dataset.box}"],[data-to="${box.dataset.box}"]`);
    const toggle = (on) => () => curves.forEach((curve) => curve.classList.toggle("on", on));
    box.addEventListener("mouseenter", toggle(true));
    box.addEventListener("mouseleave", toggle(false));
  }
})();
