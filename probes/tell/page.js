(function () {
  const claims = [...document.querySelectorAll("details.claim")];
  const selects = [...document.querySelectorAll(".filters select")];
  const count = document.querySelector(".filters output");
  function filter() {
    let shown = 0;
    for (const claim of claims) {
      claim.hidden = selects.some((s) => s.value && claim.dataset[s.dataset.key] !== s.value);
      shown += !claim.hidden;
    }
    for (const row of document.querySelectorAll("header tbody tr")) {
      const link = row.querySelector('a[href^="#"]');
      const claim = link && document.getElementById(decodeURIComponent(link.hash.slice(1)));
      row.hidden = Boolean(claim && claim.hidden);
    }
    if (count) count.textContent = shown + " of " + claims.length + " claims";
  }
  for (const s of selects) s.addEventListener("change", filter);
  function open() {
    const claim = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (claim && claim.matches("details")) { claim.hidden = false; claim.open = true; claim.scrollIntoView(); }
  }
  addEventListener("hashchange", open);
  addEventListener("beforeprint", () => claims.forEach((claim) => { claim.open = true; }));
  const number = (text) => {
    const found = text.replace(/,/g, "").match(/^[<\s]*([+\-\u2212]?\d+(\.\d+)?(e[+-]?\d+)?)/i);
    return found ? Number(found[1].replace("\u2212", "-")) : NaN;
  };
  for (const head of document.querySelectorAll("table thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      const body = head.closest("table").tBodies[0];
      const at = head.cellIndex;
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const text = (row) => (row.cells[at] ? row.cells[at].textContent.trim() : "");
      [...body.rows]
        .sort((a, b) => {
          const x = number(text(a)), y = number(text(b));
          const order = Number.isNaN(x) || Number.isNaN(y) ? text(a).localeCompare(text(b), undefined, { numeric: true }) : x - y;
          return down ? -order : order;
        })
        .forEach((row) => body.append(row));
    });
  }
  open();
})();
