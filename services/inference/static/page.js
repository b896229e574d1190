import { percent, summarize, toCsv } from "./format.js";
import { describe, draw } from "./heat_map.js";
import { offerInputs } from "./inputs.js";
import { send } from "./service.js";
import { offerSnippets } from "./snippets.js";
import { enlarge } from "./viewer.js";

const BARS = 5;

const form = document.getElementById("upload");
const input = document.getElementById("file");
const summary = document.getElementById("summary");
const list = document.getElementById("results");
const status = document.getElementById("status");

const EXPLAIN = form.action.replace(/predict$/, "explain");

// One after the other: many images at once must not fill the service's places.
let queue = Promise.resolve();

// Each finished card's result, newest first as on the page.
const results = new Map();

offerInputs(add);
offerSnippets(document.getElementById("use"), form.action);

document.getElementById("csv").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([toCsv(ordered())], { type: "text/csv" }));
  link.download = "answers.csv";
  link.click();
  URL.revokeObjectURL(link.href);
});

document.getElementById("clear").addEventListener("click", () => {
  list.replaceChildren();
  results.clear();
  count();
  status.textContent = "Cleared";
  input.focus();
});

function add(files) {
  for (const file of files) {
    const card = newCard(file);
    next(() => classify(file, card), card);
  }
  count();
}

/** Do something with a card when its turn comes, unless the page was cleared. */
function next(work, card) {
  queue = queue.then(() => card.isConnected && work());
}

function newCard(file) {
  const card = document.getElementById("card").content.cloneNode(true).firstElementChild;
  const image = card.querySelector("img");
  image.src = URL.createObjectURL(file);
  image.onload = () => URL.revokeObjectURL(image.src);
  image.onerror = () => card.querySelector(".view").remove();
  card.querySelector(".name").textContent = file.name;
  const larger = card.querySelector(".enlarge");
  larger.setAttribute("aria-label", `Enlarge ${file.name}`);
  larger.addEventListener("click", () => enlarge(file, image.alt || file.name));
  const remover = card.querySelector(".remove");
  remover.setAttribute("aria-label", `Remove ${file.name}`);
  remover.addEventListener("click", () => remove(card, file));
  list.prepend(card);
  return card;
}

function remove(card, file) {
  const next = card.nextElementSibling ?? card.previousElementSibling;
  card.remove();
  results.delete(card);
  count();
  status.textContent = `${file.name} is removed`;
  (next?.querySelector(".remove") ?? input).focus();
}

/** Show what is answered of the images on the page. */
function count() {
  summary.hidden = results.size === 0;
  document.getElementById("counts").textContent = summarize(ordered(), list.children.length);
}

async function classify(file, card) {
  let result;
  try {
    const response = await send(form.action, file);
    const body = await response.json();
    result = response.ok ? { answer: body } : { error: `${body.title}. ${body.detail}`, problem: body };
  } catch {
    const problem = { title: "No answer", detail: "The service did not answer. Is it still running?" };
    result = { error: `${problem.title}. ${problem.detail}`, problem };
  }
  if (!card.isConnected) return;
  results.set(card, { name: file.name, ...result });
  if (result.answer) show(result.answer, file, card);
  else fail(result.problem, file, card);
  card.removeAttribute("aria-busy");
  count();
}

function ordered() {
  return [...list.children].filter((card) => results.has(card)).map((card) => results.get(card));
}

function show(answer, file, card) {
  const perhaps = `Perhaps ${answer.label}`;
  const label = answer.uncertain ? "Uncertain" : answer.label;
  card.classList.toggle("uncertain", Boolean(answer.uncertain));
  card.querySelector(".label").textContent = label;
  card.querySelector("img")?.setAttribute("alt", `${file.name}: ${label}`);
  const ranking = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  const bars = ranking.slice(0, BARS).map(([name, share]) => bar(name, share));
  const rest = ranking.slice(BARS);
  if (rest.length) bars.push(bar(`${rest.length} more`, rest.reduce((sum, [, share]) => sum + share, 0)));
  card.querySelector(".bars").replaceChildren(...bars);
  const note = card.querySelector(".note");
  note.hidden = !answer.uncertain;
  note.textContent = `${perhaps}, but the image is doubtful, or unlike those the model learned from.`;
  const said = answer.uncertain ? `Uncertain. ${perhaps}` : answer.label;
  status.textContent = `${file.name}: ${said}, ${percent(answer.confidence)}`;
  offerTools(file, card);
}

function offerTools(file, card) {
  const [why, wrong] = card.querySelectorAll(".tools button");
  why.parentElement.hidden = false;
  why.hidden = !card.querySelector("img"); // of a format that the browser cannot show
  why.setAttribute("aria-label", `Why? ${file.name}`);
  wrong.setAttribute("aria-label", `Mark as wrong: ${file.name}`);
  why.addEventListener("click", () => {
    if (card.classList.contains("explained")) reveal(card, why, false);
    else if (card.querySelector("canvas").width > 1) reveal(card, why, true);
    else {
      why.disabled = true;
      status.textContent = `${file.name}: looking for what the answer depends on`;
      next(() => explain(file, card, why), card);
    }
  });
  wrong.addEventListener("click", () => {
    const result = results.get(card);
    result.wrong = !result.wrong;
    wrong.setAttribute("aria-pressed", result.wrong);
  });
}

async function explain(file, card, why) {
  const reason = card.querySelector(".reason");
  try {
    const response = await send(EXPLAIN, file);
    const found = await response.json();
    if (response.ok) {
      const cropped = draw(card.querySelector("canvas"), card.querySelector("img"), found);
      reason.textContent = describe(found, cropped);
      reveal(card, why, true);
    } else {
      reason.textContent = `${found.title}. ${found.detail}`;
    }
  } catch {
    reason.textContent = "The service did not answer. Is it still running?";
  }
  reason.hidden = false;
  why.disabled = false;
  status.textContent = `${file.name}: ${reason.textContent}`;
}

/** Show or hide the map of a card that has one. */
function reveal(card, why, shown) {
  card.classList.toggle("explained", shown);
  card.querySelector("canvas").hidden = !shown;
  card.querySelector(".reason").hidden = !shown;
  why.setAttribute("aria-expanded", shown);
}

function bar(name, share) {
  const item = document.getElementById("bar").content.cloneNode(true).firstElementChild;
  item.querySelector(".class").textContent = name;
  item.querySelector(".fill").style.width = `${share * 100}%`;
  item.querySelector(".percent").textContent = percent(share);
  return item;
}

function fail({ title, detail }, file, card) {
  card.classList.add("problem");
  card.querySelector(".label").textContent = title;
  const text = document.createElement("p");
  text.textContent = detail;
  card.querySelector(".bars").replaceWith(text);
  status.textContent = `${file.name}: ${title}. ${detail}`;
}
