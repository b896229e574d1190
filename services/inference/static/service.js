// Sends images to the service.

const TRIES = 5;
const SIDE = 1600; // pixels; the model looks at far fewer
const QUALITY = 0.9;
const SENT_AS_THEY_ARE = ["avif", "bmp", "gif", "jpeg", "png", "webp"].map((kind) => `image/${kind}`);

const access = document.getElementById("access");

// In this page only: what a browser stores, other scripts of the same address can read.
let key = "";

/** Send an image to a route; wait and try again where the service is busy, and ask for an API key where it wants one. */
export async function send(route, file) {
  const body = new FormData();
  body.append("file", await prepare(file), file.name);
  for (let tries = 1; ; tries += 1) {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const response = await fetch(route, { method: "POST", body, headers });
    if (response.status === 401 && (await asked())) continue;
    const seconds = Number(response.headers.get("Retry-After"));
    if (response.status !== 503 || seconds !== 1 || tries === TRIES) return response;
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000 * tries));
  }
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
