"use strict";

const BARS = 5;
const TRIES = 5;
const SIDE = 1600; // pixels; the model looks at far fewer
const QUALITY = 0.9;
const SENT_AS_THEY_ARE = ["avif", "bmp", "gif", "jpeg", "png", "webp"].map((kind) => `image/${kind}`);

const form = document.getElementById("upload");
const input = document.getElementById("file");
const drop = document.getElementById("drop");
const results = document.getElementById("results");
const status = document.getElementById("status");
const access = document.getElementById("access");

// In this page only: what a browser stores, other scripts of the same address can read.
let key = "";

// One after the other: many pictures at once must not fill the service's places.
let queue = Promise.resolve();

input.addEventListener("change", () => {
  add(input.files);
  form.reset(); // so that choosing the same file again is a change
});

document.addEventListener("paste", (event) => add(event.clipboardData.files));

for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
  // The whole window, or a picture dropped beside the field replaces the page.
  window.addEventListener(type, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", type === "dragenter" || type === "dragover");
    if (type === "drop") add(event.dataTransfer.files);
  });
}

function add(files) {
  for (const file of files) {
    const card = newCard(file);
    queue = queue.then(() => classify(file, card));
  }
}

function newCard(file) {
  const card = document.getElementById("card").content.cloneNode(true).firstElementChild;
  const image = card.querySelector("img");
  image.src = URL.createObjectURL(file);
  image.onload = () => URL.revokeObjectURL(image.src);
  image.onerror = () => image.remove();
  card.querySelector(".name").textContent = file.name;
  results.prepend(card);
  return card;
}

async function classify(file, card) {
  try {
    const response = await send(file);
    const answer = await response.json();
    if (response.ok) show(answer, file, card);
    else fail(answer.title, answer.detail, file, card);
  } catch {
    fail("No answer", "The service did not answer. Is it still running?", file, card);
  }
  card.removeAttribute("aria-busy");
}

/** The file, or a JPEG of it: scaled down where it is large, converted where only the browser can read it (HEIC). */
async function prepare(file) {
  const image = await createImageBitmap(file).catch(() => null); // upright: without another EXIF orientation
  if (!image) return file;
  const scale = Math.min(1, SIDE / Math.max(image.width, image.height));
  if (scale === 1 && SENT_AS_THEY_ARE.includes(file.type)) return file;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  return (await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY))) ?? file;
}

async function send(file) {
  const body = new FormData();
  body.append("file", await prepare(file), file.name);
  for (let tries = 1; ; tries += 1) {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const response = await fetch(form.action, { method: "POST", body, headers });
    if (response.status === 401 && (await asked())) continue;
    const seconds = Number(response.headers.get("Retry-After"));
    if (response.status !== 503 || seconds !== 1 || tries === TRIES) return response;
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000 * tries));
  }
}

/** Whether the person gave a key; Escape is a no. */
function asked() {
  access.returnValue = "";
  access.showModal();
  return new Promise((resolve) => {
    access.addEventListener("close", () => {
      key = document.getElementById("key").value.trim();
      access.querySelector("form").reset();
      resolve(access.returnValue === "given" && key !== "");
    }, { once: true });
  });
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
  note.textContent = `${perhaps}, but the picture is doubtful, or unlike those the model learned from.`;
  const said = answer.uncertain ? `Uncertain. ${perhaps}` : answer.label;
  status.textContent = `${file.name}: ${said}, ${percent(answer.confidence)}`;
}

function bar(name, share) {
  const item = document.getElementById("bar").content.cloneNode(true).firstElementChild;
  item.querySelector(".class").textContent = name;
  item.querySelector(".fill").style.width = `${share * 100}%`;
  item.querySelector(".percent").textContent = percent(share);
  return item;
}

function percent(share) {
  return `${(share * 100).toFixed(1)} %`;
}

function fail(title, detail, file, card) {
  card.classList.add("problem");
  card.querySelector(".label").textContent = title;
  const text = document.createElement("p");
  text.textContent = detail;
  card.querySelector(".bars").replaceWith(text);
  status.textContent = `${file.name}: ${title}. ${detail}`;
}
