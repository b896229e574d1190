// Formats answers as text.

export function percent(share) {
  return `${(share * 100).toFixed(1)} %`;
}

/** Count answers by label: "4 images: 2 cat, 1 uncertain, 1 failed", or "4 of 10 images: …" while others wait. */
export function summarize(results, total) {
  const count = (kind) => results.filter(kind).length;
  const certain = results.filter(({ answer }) => answer && !answer.uncertain).map(({ answer }) => answer.label);
  const labels = [...new Set(certain)].map((label) => [certain.filter((each) => each === label).length, label]);
  const parts = [
    ...labels.sort((a, b) => b[0] - a[0]),
    [count(({ answer }) => answer?.uncertain), "uncertain"],
    [count(({ answer }) => !answer), "failed"],
  ].filter(([number]) => number > 0);
  const done = results.length === total ? "" : `${results.length} of `;
  const all = `${done}${total} ${total === 1 ? "image" : "images"}`;
  return `${all}: ${parts.map(([number, name]) => `${number} ${name}`).join(", ")}`;
}

/** Write results as CSV, with the columns of `make score`. */
export function toCsv(results) {
  const classes = [...new Set(results.flatMap(({ answer }) => Object.keys(answer?.probabilities ?? {})))];
  const rows = results.map(({ name, answer, error, wrong }) => [
    name,
    answer?.label,
    answer?.confidence,
    answer?.uncertain,
    ...classes.map((each) => answer?.probabilities[each]),
    error,
    answer?.model.name,
    answer?.model.version,
    answer ? Boolean(wrong) : undefined,
  ]);
  const probabilities = classes.map((name) => `probability_${name}`);
  const head = ["path", "label", "confidence", "uncertain", ...probabilities, "error", "model", "version"];
  return [[...head, "marked_wrong"], ...rows].map((row) => row.map(cell).join(",") + "\r\n").join("");
}

function cell(value) {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
