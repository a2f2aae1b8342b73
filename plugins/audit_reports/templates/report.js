"use strict";
(() => {
  document.documentElement.classList.add("scripted");

  const value = (row, index) => {
    const cell = row.cells[index];
    return cell.dataset.v === undefined ? cell.textContent.trim() : cell.dataset.v;
  };

  const compare = (a, b, numeric) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    return numeric ? a - b : a.localeCompare(b, undefined, { numeric: true });
  };

  const sort = (table, header) => {
    const index = header.cellIndex;
    const body = table.tBodies[0];
    const numeric = header.classList.contains("n");
    const wasUp = header.getAttribute("aria-sort") === "ascending";
    const down = header.hasAttribute("aria-sort") ? wasUp : false;
    const rows = [...body.rows].map((row) => [value(row, index), row]);
    rows.sort(([a], [b]) => (a === "" || b === "" || !down ? 1 : -1) * compare(a, b, numeric));
    table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows.map(([, row]) => row));
  };

  document.querySelectorAll("table.sortable").forEach((table) => {
    for (const header of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      button.addEventListener("click", () => sort(table, header));
      header.append(button);
    }
  });

  const announce = (input, shown, all) => {
    const hits = input.closest(".filter").querySelector(".hits");
    hits.textContent = input.value ? `${shown} of ${all}` : "";
  };

  document.querySelectorAll("input[data-rows]").forEach((input) => {
    const rows = [...document.getElementById(input.dataset.rows).tBodies[0].rows];
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        const names = [...row.querySelectorAll("th")].map((cell) => cell.textContent).join(" ");
        row.hidden = !names.toLowerCase().includes(wanted);
        shown += !row.hidden;
      }
      announce(input, shown, rows.length);
    });
  });

  document.querySelectorAll("input[data-columns]").forEach((input) => {
    const table = document.getElementById(input.dataset.columns);
    const titles = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.title.toLowerCase());
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      const show = titles.map((title) => title.includes(wanted));
      for (const row of table.rows) {
        show.forEach((visible, index) => { row.cells[index + 1].hidden = !visible; });
      }
      announce(input, show.filter(Boolean).length, show.length);
    });
  });
})();
