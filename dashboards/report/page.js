"use strict";
(() => {
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const make = (name, text, attributes = {}) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  // Figures: drawn when they come near the window, in the page's colours.
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const template = () => {
    const axis = {gridcolor: colour("grid"), zerolinecolor: colour("line"), linecolor: colour("line")};
    return {layout: {
      font: {color: colour("ink"), family: getComputedStyle(document.body).fontFamily, size: 13},
      xaxis: axis, yaxis: axis, annotationdefaults: {bgcolor: colour("paper"), borderpad: 1},
      modebar: {color: colour("muted"), activecolor: colour("accent"), bgcolor: "rgba(0,0,0,0)"},
      hoverlabel: {bgcolor: colour("card"), bordercolor: colour("line"), font: {color: colour("ink")}},
    }};
  };
  const plots = [...document.querySelectorAll(".plot")];
  const touch = matchMedia("(pointer: coarse)").matches;
  // The palette's blue is too dark for thin lines on a dark page.
  const BLUE = "#0072B2", LIGHTER_BLUE = "#2F9BDB", isDark = matchMedia("(prefers-color-scheme: dark)");
  const shaded = data => {
    if (isDark.matches) for (const {line, marker} of data) for (const part of [line, marker]) {
      if (part?.color === BLUE) part.color = LIGHTER_BLUE;
    }
    return data;
  };
  const draw = plot => {
    if (plot.dataset.drawn) return;
    plot.dataset.drawn = "begun";
    show(plot, Plotly.newPlot).then(() => { plot.dataset.drawn = "yes"; });
  };
  const show = (plot, how) => {
    const {data, layout} = read("figure-" + plot.dataset.figure);
    const own = {...layout, template: template(), autosize: true};
    if (touch) own.dragmode = false;
    const config = {responsive: true, displaylogo: false, plotlyServerURL: "",
      modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]};
    if (touch) config.displayModeBar = false;
    return how(plot, shaded(data), own, config);
  };
  const observer = new IntersectionObserver(entries => {
    for (const entry of entries) if (entry.isIntersecting) { observer.unobserve(entry.target); draw(entry.target); }
  }, {rootMargin: "500px"});
  plots.forEach(plot => observer.observe(plot));
  const recolour = () => plots.filter(plot => plot.dataset.drawn).forEach(plot => show(plot, Plotly.react));
  isDark.addEventListener("change", recolour);
  addEventListener("beforeprint", () => { plots.forEach(draw); recolour(); });
  addEventListener("afterprint", recolour);

  // The table of trials.
  const {trials} = read("page-data");
  if (!trials) return;
  const {columns, configs, runs} = trials;
  // MLflow's pages show this one in a frame that may open no other.
  const isFramed = self !== top;
  if (isFramed) document.querySelectorAll(".links").forEach(note => { note.hidden = true; });
  const body = document.querySelector("#trials tbody"), head = document.querySelector("#trials thead");
  const filter = document.getElementById("filter"), state = document.getElementById("state");
  const more = document.getElementById("more"), count = document.getElementById("count");
  const PAGE = 50;
  const all = columns[0].values.map((_, row) => row);
  let shown = PAGE, sorted = 0, descending = false, rows = all;

  const yaml = row => {
    const [shape, ...values] = configs.rows[row];
    return configs.shapes[shape].map((text, place) => text + (values[place] ?? "")).join("");
  };
  const showConfig = text => {
    const dialog = document.getElementById("config"), area = dialog.querySelector("textarea");
    area.value = text;
    dialog.showModal();
    area.select();
  };
  const copy = (row, button) => {
    const label = button.textContent, text = yaml(row);
    const done = () => { button.textContent = "copied"; setTimeout(() => { button.textContent = label; }, 1500); };
    // Some frames (and MLflow's pages) give no clipboard: then the text is shown to be copied by hand.
    try { navigator.clipboard.writeText(text).then(done, () => showConfig(text)); } catch { showConfig(text); }
  };

  const COMPARISON = /^\s*(.+?)\s*(<=|>=|<|>|=)\s*(.+?)\s*$/;
  const tests = {"<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b,
                 "=": (a, b) => a === b};
  const condition = text => {
    const [, name, sign, value] = text.match(COMPARISON) ?? [];
    const column = columns.find(c => c.name === name || c.title === name);
    if (!column) return null;
    const number = Number(value);
    return row => {
      const cell = column.values[row];
      if (cell === null) return false;
      return typeof cell === "number" ? tests[sign](cell, number) : sign === "=" && String(cell) === value;
    };
  };
  const wanted = () => {
    const text = filter.value.trim().toLowerCase(), test = condition(filter.value);
    const states = columns[1].values;
    return all.filter(row => (!state.value || states[row] === state.value) && (
      !text || (test ? test(row) : columns.some(c => c.values[row] !== null &&
                                                     String(c.values[row]).toLowerCase().includes(text)))));
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return String(a).localeCompare(String(b));
  };
  const order = () => {
    const {values} = columns[sorted];
    rows.sort((a, b) => {  // cells without a value stay last in both directions
      const x = values[a], y = values[b];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return (descending ? compare(y, x) : compare(x, y)) || a - b;
    });
  };
  const shortened = value => {
    if (typeof value !== "number") return value === null ? "" : String(value);
    const size = Math.abs(value);
    if (value === 0 || (size >= 1e-3 && size < 1e7)) return String(value);
    return value.toExponential(4).replace(/\.?0+e/, "e").replace("e+", "e");
  };
  const cellOf = (column, row) => {
    const value = column.values[row];
    const cell = make("td", shortened(value), {title: value === null ? "" : String(value)});
    if (column.numeric) cell.className = "number";
    return cell;
  };
  const rowOf = row => {
    const line = make("tr");
    columns.forEach(column => line.append(cellOf(column, row)));
    const links = make("td");
    if (runs.ids[row] && !isFramed) {
      links.append(make("a", "MLflow", {href: runs.address + runs.ids[row] + "?workflowType=machine_learning", target: "_blank", rel: "noopener"}), " ");
    }
    if (configs.rows[row].length) {
      const button = make("button", "copy config", {type: "button"});
      button.addEventListener("click", () => copy(row, button));
      links.append(button);
    }
    line.append(links);
    return line;
  };
  const render = () => {
    body.replaceChildren(...rows.slice(0, shown).map(rowOf));
    more.hidden = rows.length <= shown;
    count.textContent = `${rows.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} trials`;
    [...head.querySelectorAll("th")].forEach((cell, place) => cell.setAttribute(
      "aria-sort", place === sorted ? (descending ? "descending" : "ascending") : "none"));
  };
  const update = () => { rows = wanted(); shown = PAGE; order(); render(); };

  const line = make("tr");
  columns.forEach((column, place) => {
    const cell = make("th", undefined, {scope: "col", title: column.title});
    if (column.numeric) cell.className = "number";
    const button = make("button", column.name, {type: "button"});
    button.addEventListener("click", () => {
      descending = place === sorted && !descending;
      sorted = place;
      order();
      render();
    });
    cell.append(button);
    line.append(cell);
  });
  line.append(make("td", "", {"aria-hidden": "true"}));
  head.append(line);
  filter.addEventListener("input", update);
  state.addEventListener("change", update);
  more.addEventListener("click", () => { shown += 4 * PAGE; render(); });
  document.querySelectorAll(".copy").forEach(
    button => button.addEventListener("click", () => copy(Number(button.dataset.row), button)));
  update();
})();
