// What every page does: keep its state in the fragment, sort and filter tables, open everything for paper.
"use strict";

// The fragment is a query, `#at=plan&card=RTX+4090`, so that a link to the page is a link to what is shown.
const state = {
  values: new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : ""),
  readers: [],
  get(name) { return this.values.get(name) ?? ""; },
  set(name, value) {
    if (value) this.values.set(name, value); else this.values.delete(name);
    // a browser may refuse to change the address of a local file; the page works without
    try { history.replaceState(null, "", "#" + this.values); } catch { /* shown, but not in the link */ }
  },
  // Run now, and again when somebody pastes another link into this window
  follow(read) { this.readers.push(read); read(); },
};

// A value that the page was written with
function dataOf(key) {
  return JSON.parse(document.getElementById(`data:${key}`).textContent);
}

function goTo(name) {
  const target = name && document.getElementById(name);
  if (target) target.scrollIntoView();
}

addEventListener("hashchange", () => {
  if (!location.hash.includes("=")) return;
  state.values = new URLSearchParams(location.hash.slice(1));
  state.readers.forEach((read) => read());
  goTo(state.get("at"));
});

for (const link of document.querySelectorAll("nav a")) {
  link.addEventListener("click", (event) => {
    event.preventDefault(); // the plain fragment would replace the state
    const name = decodeURIComponent(link.hash.slice(1));
    state.set("at", name);
    goTo(name);
  });
}

const SECONDS = { h: 3600, m: 60, s: 1 };
const SIZES = { k: 1e3, M: 1e6, B: 1e9 };

// `1,234`, `+5`, `12.3k`, `97%`, `3m 05s`: as a number; NaN for what is none
function numberOf(text) {
  const plain = text.trim().replaceAll(",", "").replace("−", "-");
  const times = [...plain.matchAll(/(\d+(?:\.\d+)?)([hms])(?![a-z])/g)];
  if (times.length) return times.reduce((sum, [, n, unit]) => sum + Number(n) * SECONDS[unit], 0);
  const found = /^[^\d+-]*([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)([kMB]?)/.exec(plain);
  return found ? Number(found[1]) * (SIZES[found[2]] ?? 1) : NaN;
}

// What has no value comes last, whichever way the rest goes
function inOrder(a, b, isNumber, sign) {
  if (!isNumber) return sign * a.localeCompare(b, "en", { numeric: true });
  const [x, y] = [numberOf(a), numberOf(b)];
  if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
  return sign * (x - y);
}

function prepareTable(figure) {
  const key = figure.dataset.table;
  const table = figure.querySelector("table");
  const rows = [...table.tBodies[0].rows];
  const heads = [...(table.tHead?.rows[0].cells ?? [])];
  const field = document.createElement("input");
  const count = document.createElement("span");

  function sort(column, isDown) {
    const sign = isDown ? -1 : 1;
    const isNumber = heads[column]?.classList.contains("number");
    const ordered = heads[column]
      ? rows.toSorted((a, b) => inOrder(a.cells[column].textContent, b.cells[column].textContent, isNumber, sign))
      : rows;
    table.tBodies[0].append(...ordered);
    heads.forEach((head, i) => {
      if (i === column) head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  }

  // Every word must stand in the row
  function filter() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const told = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !words.every((word) => told.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = words.length ? `${shown} of ${rows.length}` : "";
  }

  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      // figures from the largest at first
      const was = head.getAttribute("aria-sort");
      const isDown = was ? was === "ascending" : head.classList.contains("number");
      sort(i, isDown);
      state.set(`${key}.sort`, `${i}${isDown ? "d" : "u"}`);
    });
  });

  if (rows.length > 5) {
    const line = document.createElement("div");
    line.className = "filter note";
    field.type = "search";
    field.placeholder = "filter";
    field.setAttribute("aria-label", `filter ${key}`);
    count.setAttribute("role", "status");
    line.append(field, count);
    figure.querySelector(".scroll").before(line);
    field.addEventListener("input", () => { filter(); state.set(`${key}.filter`, field.value); });
  }

  state.follow(() => {
    const order = state.get(`${key}.sort`);
    sort(order ? parseInt(order, 10) : -1, order.endsWith("d"));
    field.value = state.get(`${key}.filter`);
    filter();
  });
}

document.querySelectorAll("[data-table]").forEach(prepareTable);

let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((one) => { one.open = true; });
});
addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));

addEventListener("load", () => goTo(state.get("at")));
