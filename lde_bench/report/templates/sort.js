// A table is sorted by a click on the head of a column, the other way round by a second one; without this script it
// stands in its own order. Cells without a number, or empty, come last both ways.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const text = (row) => row.cells[column].textContent.trim().replace(/^\u2013$/, "");
      // What stands as "best" or "highest" in a column of differences is the row that they are taken to.
      const isTop = (row) => ["best", "highest"].includes(text(row));
      const number = (row) => (isTop(row) ? 0 : parseFloat(text(row).replaceAll(",", "")));
      const rows = [...body.rows];
      const numeric = !head.classList.contains("words") && rows.some((row) => !isNaN(number(row)));
      const missing = (row) => (numeric ? isNaN(number(row)) : text(row) === "");
      const compare = (one, two) =>
        numeric ? number(one) - number(two) : text(one).localeCompare(text(two), "en", { numeric: true });
      rows.sort((one, two) => missing(one) - missing(two) || way * compare(one, two));
      body.append(...rows);
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
    });
  });
}
