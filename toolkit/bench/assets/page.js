// The planner's table, asked by choosing: nothing is computed here, every figure was planned beforehand.
"use strict";

const asked = document.getElementById("explorer") && dataOf("plans");

// Beginning with what most people have
const FIRST = {
  gpu: "RTX 4090", model: "Qwen/Qwen2.5-3B-Instruct", max_prompt_length: 512, max_completion_length: 1024,
  num_generations: 8, gradient_checkpointing: "unsloth", standby: true,
};
// What can be given up, the cheapest first
const CONCESSIONS = ["standby", "gradient_checkpointing", "num_generations", "max_completion_length", "max_prompt_length"];

const find = (name) => document.querySelector(`#explorer .${name}`);
const gib = (value) => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
const short = (model) => model.split("/").pop().replace("-Instruct", "");
const told = (value) => (typeof value === "number" ? value.toLocaleString("en") : value === true ? "on" : value === false ? "off" : value);

// An estimate of speed has no third digit
const rough = (value) => Number(value.toPrecision(2)).toLocaleString("en");

function make(tag, options = {}, ...children) {
  const node = Object.assign(document.createElement(tag), options);
  node.append(...children);
  return node;
}

// What was chosen: of each axis one value, the fragment's where it has one that exists
function chosen() {
  return Object.fromEntries(Object.entries(asked.axes).map(([axis, values]) => {
    const named = values.find((value) => String(value) === state.get(axis));
    return [axis, named ?? (values.includes(FIRST[axis]) ? FIRST[axis] : values[0])];
  }));
}

// The plan of a run by its figures' names; null where the model has no room for the lengths
function planOf(run) {
  let place = 0;
  for (const [axis, values] of Object.entries(asked.axes)) place = place * values.length + values.indexOf(run[axis]);
  const figures = asked.plans[place];
  if (!figures) return null;
  const plan = Object.fromEntries(asked.figures.map((name, i) => [name, figures[i]]));
  plan.parts = asked.parts.map((name, i) => ({ name, gib: figures[asked.figures.length + i] }));
  plan.verdict = asked.fits[plan.fit];
  plan.runs = plan.fit <= 1;
  return plan;
}

function choose(changes) {
  for (const [axis, value] of Object.entries(changes)) state.set(axis, String(value));
  show();
}

function why(run, plan) {
  const usable = asked.usable_gib[run.gpu];
  const phase = asked.phases[plan.phase];
  const largest = plan.parts.reduce((a, b) => (b.gib > a.gib ? b : a));
  if (plan.verdict.name === "no cache") {
    const wanted = run.max_prompt_length + run.max_completion_length;
    return `vLLM's cache holds one sequence of up to ${told(plan.longest)} tokens; prompt and completion are ${told(wanted)}.`;
  }
  if (plan.verdict.name === "tight") {
    return `The peak is on the card, but the upper end of the plan's interval, ${gib(plan.high_gib)} GiB, is above the ${gib(usable)} GiB that it gives.`;
  }
  if (plan.runs) return `At the peak, in ${phase}, ${gib(usable - plan.peak_gib)} GiB are left. The largest part: ${largest.name}, ${gib(largest.gib)} GiB.`;
  if (plan.peak_gib <= usable) return `When vLLM starts, ${gib(plan.missing_gib)} GiB less are free than its share of the card.`;
  return `The peak, in ${phase}, is ${gib(plan.peak_gib - usable)} GiB above the ${gib(usable)} GiB that the card gives. The largest part: ${largest.name}, ${gib(largest.gib)} GiB.`;
}

// The values of a setting that ask for less, what was asked first and the nearest next
function lesser(run, axis) {
  const values = asked.axes[axis];
  if (typeof run[axis] === "number") return values.slice(0, values.indexOf(run[axis]) + 1).reverse();
  return [run[axis], ...values.filter((value) => value !== run[axis])];
}

// Changes that make it run: each setting alone; all of them together where none does alone; the smallest other card
function nearest(run) {
  const runs = (changes) => planOf({ ...run, ...changes })?.runs;
  const alone = CONCESSIONS.map((axis) => {
    const value = lesser(run, axis).find((one) => runs({ [axis]: one }));
    return value === undefined ? null : { [axis]: value };
  }).filter(Boolean);
  const cards = asked.axes.gpu.filter((gpu) => runs({ gpu })).sort((a, b) => asked.usable_gib[a] - asked.usable_gib[b]);
  return [...alone, ...(alone.length ? [] : together(run, runs)), ...cards.slice(0, 1).map((gpu) => ({ gpu }))];
}

// The first combination that runs, in which the dearest settings are the last to change
function together(run, runs) {
  let combinations = [{}];
  for (const axis of [...CONCESSIONS].reverse()) {
    combinations = combinations.flatMap((before) => lesser(run, axis).map((value) => ({ ...before, [axis]: value })));
  }
  const found = combinations.find(runs);
  if (!found) return [];
  return [Object.fromEntries(Object.entries(found).filter(([axis, value]) => value !== run[axis]))];
}

function showAnswer(run, plan) {
  const usable = asked.usable_gib[run.gpu];
  const level = ["green", "amber", "red", "red"][plan.fit];
  const speed = plan.step_s === null ? [] : [`, about ${rough(plan.step_s)} s a step`,
    plan.rollout_tokens_per_s === null ? "" : ` and ${rough(plan.rollout_tokens_per_s)} rollout tokens/s`];
  find("verdict").replaceChildren(
    make("span", { className: `badge ${level}` }, plan.verdict.name),
    make("b", {}, `${gib(plan.peak_gib)} GiB`), ` of ${gib(usable)} (${gib(plan.low_gib)} to ${gib(plan.high_gib)})`, ...speed, " ",
    make("span", { className: "badge predicted" }, `predicted (${asked.planner})`),
  );
  const whole = Math.max(plan.peak_gib, usable);
  const colour = (i) => `var(--c${i + 1})`;
  const bar = find("bar");
  bar.replaceChildren(...plan.parts.map((part, i) => {
    const piece = make("div", { title: `${part.name}: ${gib(part.gib)} GiB` });
    piece.style.cssText = `width: ${100 * part.gib / whole}%; background: ${colour(i)}`;
    return piece;
  }));
  const limit = make("div", { className: "limit", title: `usable: ${gib(usable)} GiB` });
  limit.style.left = `calc(${100 * usable / whole}% - 2px)`;
  bar.append(limit);
  bar.setAttribute("aria-label", plan.parts.map((part) => `${part.name} ${gib(part.gib)} GiB`).join(", "));
  find("parts").replaceChildren(...plan.parts.map((part, i) => {
    const swatch = make("i");
    swatch.style.background = colour(i);
    return make("span", {}, swatch, `${part.name} ${gib(part.gib)}`);
  }), make("span", {}, `| usable ${gib(usable)}`));
  find("why").textContent = why(run, plan);
}

function showNearest(run, plan) {
  const buttons = (plan?.runs ? [] : nearest(run)).map((changes) => {
    const words = Object.entries(changes).map(([axis, value]) => `${axis} ${told(value)}`).join(", ");
    return make("button", { type: "button", className: "plain", onclick: () => choose(changes) },
      `${words}: ${gib(planOf({ ...run, ...changes }).peak_gib)} GiB`);
  });
  const nothing = make("span", { className: "note" }, "Nothing in these lists makes this model run on this card.");
  const lead = make("span", { className: "note" }, "Any of these makes it run:");
  find("nearest").replaceChildren(...(plan?.runs ? [] : buttons.length ? [lead, ...buttons] : [nothing]));
}

function command(run) {
  const words = Object.entries(run).filter(([axis]) => axis !== "standby")
    .map(([axis, value]) => `--${axis} ${/\s/.test(value) ? `"${value}"` : value}`);
  words.push(`--per_device_train_batch_size ${asked.batches[run.num_generations]}`);
  return ["toolkit plan", ...words, ...(run.standby ? ["--standby"] : [])].join(" ");
}

// A field that shows a plan and, when pressed, chooses it
function field(run, current) {
  const plan = planOf(run);
  if (!plan) return make("td", { title: "more than the model's positions" });
  const button = make("button", { type: "button", title: plan.verdict.meaning, onclick: () => choose(run) },
    `${plan.verdict.mark} ${gib(plan.peak_gib)}`.trim());
  button.className = `fit-${plan.verdict.name.replace(" ", "-")}`;
  button.style.setProperty("--full", Math.min(1, plan.peak_gib / asked.usable_gib[run.gpu]));
  if (Object.keys(run).every((axis) => run[axis] === current[axis])) button.setAttribute("aria-current", "true");
  return make("td", {}, button);
}

function fill(table, corner, columns, rows) {
  table.replaceChildren(
    make("thead", {}, make("tr", {}, make("th", {}, corner), ...columns.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows.map(({ name, cells }) => make("tr", {}, make("th", { scope: "row" }, name), ...cells))),
  );
}

function showTables(run) {
  const { max_completion_length: lengths, num_generations: groups, gradient_checkpointing: kinds, gpu: cards, model: models } = asked.axes;
  find("lengths-title").textContent = `${short(run.model)} on ${run.gpu}: predicted peak GiB by max_completion_length`;
  fill(find("lengths"), "checkpointing,\ngenerations", lengths.map(told), kinds.flatMap((kind) => groups.map((n) => ({
    name: `${kind}, ${n}`,
    cells: lengths.map((tokens) => field({ ...run, gradient_checkpointing: kind, num_generations: n, max_completion_length: tokens }, run)),
  }))));
  find("cards-title").textContent = "The same run with other models and on other cards: predicted peak GiB";
  fill(find("cards"), "usable GiB", cards.map((card) => `${card}\n${gib(asked.usable_gib[card])}`), models.map((model) => ({
    name: short(model), cells: cards.map((gpu) => field({ ...run, gpu, model }, run)),
  })));
}

function show() {
  const run = chosen();
  const plan = planOf(run);
  for (const select of find("controls").querySelectorAll("select")) select.value = String(run[select.name]);
  find("answer").classList.toggle("impossible", !plan);
  for (const name of ["bar", "parts"]) find(name).hidden = !plan;
  if (plan) showAnswer(run, plan);
  else {
    find("verdict").textContent = "More than the model's positions";
    find("why").textContent = `${short(run.model)} has no room for ${told(run.max_prompt_length)} + ${told(run.max_completion_length)} tokens.`;
  }
  showNearest(run, plan);
  find("command").textContent = command(run);
  showTables(run);
}

if (asked) {
  const names = { gpu: (card) => `${card} (${gib(asked.usable_gib[card])} GiB)`, model: (id) => `${short(id)} (${asked.parameters[id]})` };
  find("controls").replaceChildren(...Object.entries(asked.axes).map(([axis, values]) => {
    const select = make("select", { name: axis, onchange: () => choose({ [axis]: select.value }) },
      ...values.map((value) => make("option", { value: String(value) }, (names[axis] ?? told)(value))));
    return make("label", {}, axis, select);
  }));
  find("legend").replaceChildren(...asked.fits.map(({ name, mark, meaning }) => {
    return make("span", {}, make("i", { className: `fit-${name.replace(" ", "-")}` }, mark || "1.0"), meaning);
  }));
  state.follow(show);
}
