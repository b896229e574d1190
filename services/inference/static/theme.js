// Applies the chosen theme, kept in this browser, before the page is drawn.

const root = document.documentElement;
const kept = localStorage.getItem("theme") ?? "";
root.style.colorScheme = kept;

addEventListener("DOMContentLoaded", () => {
  const choice = document.getElementById("theme");
  choice.value = kept;
  choice.parentElement.hidden = false;
  choice.addEventListener("change", () => {
    root.style.colorScheme = choice.value;
    localStorage.setItem("theme", choice.value);
  });
});
