// Takes images in every way that the page offers.

import { offerCamera } from "./camera.js";

const input = document.getElementById("file");
const drop = document.getElementById("drop");
const hint = document.getElementById("hint");

/** Hand over each image that is chosen, dropped, pasted, taken, or an example. */
export function offerInputs(take) {
  const add = (files) => {
    hint.hidden = true;
    take(files);
  };
  document.getElementById("ways").hidden = false;
  const photo = document.getElementById("photo");
  for (const chooser of [input, photo]) {
    chooser.addEventListener("change", () => {
      add(chooser.files);
      chooser.value = ""; // so that choosing the same file again is a change
    });
  }
  offerCamera(document.getElementById("open-camera"), photo, add);
  offerPaste(document.getElementById("paste"), add);
  offerDrop(add);
  for (const example of document.querySelectorAll("#examples button")) {
    example.addEventListener("click", async () => {
      const { src } = example.querySelector("img");
      const blob = await (await fetch(src)).blob();
      add([new File([blob], decodeURIComponent(src.split("/").pop()), { type: blob.type })]);
    });
  }
}

function offerDrop(add) {
  for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
    // The whole window, or an image dropped beside the field replaces the page.
    window.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", type === "dragenter" || type === "dragover");
      if (type === "drop") add(event.dataTransfer.files);
    });
  }
}

function offerPaste(button, add) {
  document.addEventListener("paste", (event) => add(event.clipboardData.files));
  // For phones, which have no keyboard. Browsers let a page read the clipboard over HTTPS and on this machine only.
  button.hidden = !navigator.clipboard?.read;
  button.addEventListener("click", async () => {
    try {
      const files = await pasted();
      if (files.length) add(files);
      else tell("There is no image in the clipboard.");
    } catch {
      tell("The browser does not allow this page to read the clipboard.");
    }
  });
}

async function pasted() {
  const files = [];
  for (const item of await navigator.clipboard.read()) {
    const type = item.types.find((each) => each.startsWith("image/"));
    if (type) files.push(new File([await item.getType(type)], `pasted.${type.split("/")[1]}`, { type }));
  }
  return files;
}

function tell(problem) {
  hint.textContent = problem;
  hint.hidden = false;
}
