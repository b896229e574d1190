// Shows how programs use the service.

/** Open the snippets at a click, with the address that this page sends its images to. */
export function offerSnippets(opener, address) {
  const dialog = document.getElementById("snippets");
  opener.hidden = false;
  opener.addEventListener("click", () => dialog.showModal());
  for (const section of dialog.querySelectorAll("section")) {
    const code = section.querySelector("code");
    const copy = section.querySelector("button");
    code.textContent = code.textContent.replace("ADDRESS", address);
    copy.hidden = !navigator.clipboard; // browsers have it over HTTPS and on this machine only
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
    });
  }
}
