// Shows an image as large as the window.

const dialog = document.getElementById("viewer");

/** Open the image of a file. */
export function enlarge(file, description) {
  const image = dialog.querySelector("img");
  image.src = URL.createObjectURL(file);
  image.alt = description;
  image.onload = () => URL.revokeObjectURL(image.src);
  dialog.showModal();
}
