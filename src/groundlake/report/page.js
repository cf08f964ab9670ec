"use strict";
(() => {
  const root = document.documentElement;
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const preferred = window.matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const charts = [...document.querySelectorAll(".chart")];
  const tip = document.getElementById("tip");

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : preferred.matches);

  // The reader's choice outlives a reload where the browser lets a file keep anything.
  const remember = (value) => { try { localStorage.setItem("groundlake-theme", value); } catch { /* not kept */ } };
  try {
    const kept = localStorage.getItem("groundlake-theme");
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch { /* not kept */ }

  const showTip = (_handler, event, _item, value) => {
    if (!value) { tip.style.display = "none"; return; }
    const rows = document.createElement("table");
    for (const [name, text] of Object.entries(value)) {
      if (text === "null" || text === "" || text === null) continue;
      const row = rows.insertRow();
      row.insertCell().textContent = name;
      row.insertCell().textContent = text;
    }
    tip.replaceChildren(rows);
    tip.style.display = "block";
    const box = tip.getBoundingClientRect();
    const x = Math.min(event.clientX + 14, window.innerWidth - box.width - 8);
    const y = event.clientY + 16 + box.height > window.innerHeight ? event.clientY - box.height - 12 : event.clientY + 16;
    tip.style.left = `${Math.max(4, x)}px`;
    tip.style.top = `${Math.max(4, y)}px`;
  };

  const configFor = (width) => {
    const config = structuredClone(themes[isDark() ? "dark" : "light"]);
    const narrow = width < 560;
    config.legend.columns = narrow ? 2 : width < 760 ? 4 : 5;
    config.legend.labelLimit = narrow ? 130 : 220;
    if (narrow) config.legend.layout = { top: { direction: "vertical", margin: 6 } };
    config.axis.labelLimit = narrow ? 150 : 220;
    config.axis.labelFontSize = narrow ? 10 : 11;
    config.aria = false;
    return config;
  };

  const paint = (chart) => {
    const spec = JSON.parse(document.getElementById(chart.dataset.spec).textContent);
    const width = chart.clientWidth;
    const { name, columns, rows } = spec.data;
    const values = rows.map((row) => Object.fromEntries(row.map((value, at) => [columns[at], value])));
    const sized = { ...spec, data: { name, values }, width: "container", autosize: { type: "fit-x", contains: "padding" } };
    const options = { mode: "vega-lite", actions: false, renderer: "svg", config: configFor(width), tooltip: showTip };
    chart.view?.finalize();
    chart.painted = width;
    return vegaEmbed(chart, sized, options).then(({ view }) => {
      chart.view = view;
      chart.dataset.drawn = "yes";
      chart.style.minHeight = "";
    });
  };

  const failed = (chart) => (error) => { chart.textContent = "This chart could not be drawn."; console.error(error); };
  const draw = (chart) => { try { return paint(chart).catch(failed(chart)); } catch (error) { return failed(chart)(error); } };

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "400px" });
  charts.forEach((chart) => seen.observe(chart));
  window.drawAll = () => Promise.all(charts.filter((chart) => chart.clientWidth && !chart.dataset.drawn).map(draw));
  window.addEventListener("beforeprint", window.drawAll);

  // Legends and labels have other limits on a phone: turning it needs another layout, not only another width.
  let waiting = 0;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => charts.forEach((chart) => {
      if (chart.dataset.drawn && chart.clientWidth && chart.clientWidth !== chart.painted) draw(chart);
    }), 150);
  });

  const redraw = () => {
    button.textContent = isDark() ? "Light mode" : "Dark mode";
    charts.filter((chart) => chart.dataset.drawn).forEach((chart) => {
      if (chart.clientWidth) { draw(chart); return; }
      chart.view.finalize();  // folded away: it is drawn again when it is opened
      delete chart.dataset.drawn;
      seen.observe(chart);
    });
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    redraw();
  });
  preferred.addEventListener("change", redraw);
  button.textContent = isDark() ? "Light mode" : "Dark mode";

  const key = (cell, numeric) => {
    if (!numeric) return cell.textContent.toLowerCase();
    return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
  };
  document.querySelectorAll("th button").forEach((header) => header.addEventListener("click", () => {
    const th = header.parentElement;
    const table = th.closest("table");
    const numeric = th.classList.contains("n");
    const up = th.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th").forEach((other) => other.setAttribute("aria-sort", "none"));
    th.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].map((row) => [key(row.cells[th.cellIndex], numeric), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);  // what is not known comes last, either way
      const order = numeric ? a - b : a.localeCompare(b, undefined, { numeric: true });
      return up ? order : -order;
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }));
})();
