// Lays a heat map on an image, and says how to read it.

import { percent } from "./format.js";

// Each colour is brighter than the one before, so that the map can be read without telling colours apart.
const COLOURS = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
const PIXELS = 224;
const SMALL = 0.01; // of a fall in confidence
const ROWS = ["top", "middle", "bottom"];
const COLUMNS = ["left", "centre", "right"];

/** Draw the map of an explanation on a canvas that lies on an image. */
export function draw(canvas, image, { side, values, area }) {
  const small = document.createElement("canvas");
  small.width = small.height = side;
  const data = new ImageData(side, side);
  values.flat().forEach((value, index) => data.data.set([...colour(value), 255], index * 4));
  small.getContext("2d").putImageData(data, 0, 0);
  canvas.width = canvas.height = PIXELS;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, PIXELS, PIXELS);
  const { naturalWidth: width, naturalHeight: height } = image;
  const square = Math.min(width, height);
  const [across, down] = area === "image" ? [1, 1] : [square / width, square / height];
  Object.assign(canvas.style, {
    left: `${(1 - across) * 50}%`,
    top: `${(1 - down) * 50}%`,
    width: `${across * 100}%`,
    height: `${down * 100}%`,
  });
  canvas.setAttribute("aria-label", `Heat map, brightest at the ${place(values)}`);
  return across < 1 || down < 1;
}

/** Say how to read the map. */
export function describe({ label, confidence, uncertain, values, lowest_confidence: lowest }, cropped) {
  const square = cropped ? " The model sees the square in the middle only." : "";
  const [doubt, answer] = uncertain ? ["The answer is uncertain. ", "Its guess"] : ["", "The answer"];
  const even = `the model still gives ${label} ${percent(lowest)}`;
  if (Math.max(...values.flat()) === 0) return `${doubt}No one part decides: whichever is covered, ${even}.${square}`;
  if (confidence - lowest < SMALL) {
    return `${doubt}Little depends on any one part: with the brightest covered, ${even}.${square}`;
  }
  const effect = `with it covered, the model gives ${label} ${percent(lowest)} instead of ${percent(confidence)}`;
  return `${doubt}${answer} depends most on the brightest part: ${effect}.${square}`;
}

function colour(value) {
  const position = value * (COLOURS.length - 1);
  const index = Math.min(Math.floor(position), COLOURS.length - 2);
  return COLOURS[index].map((from, channel) => from + (COLOURS[index + 1][channel] - from) * (position - index));
}

/** Name the place of the greatest value, such as "bottom left". */
function place(values) {
  const side = values.length;
  const top = values.flat().indexOf(Math.max(...values.flat()));
  const third = (cell) => Math.min(2, Math.floor((cell * 3) / side));
  const [row, column] = [ROWS[third(Math.floor(top / side))], COLUMNS[third(top % side)]];
  return row === "middle" && column === "centre" ? "centre" : `${row} ${column}`;
}
