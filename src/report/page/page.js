
"use strict";
// The page's tables can be sorted; its list of connections is made here, from the data in the page. Texts of
// records get into the page as text alone: textContent, never innerHTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const offset = Number(document.getElementById("data").dataset.offset) * 1000;
  const text = data.texts;
  const SVG = "http://www.w3.org/2000/svg";
  const AT_ONCE = 100;

  // The places of a row's fields; src/report/page/list.rs writes them.
  const [AT, DURATION, TARGET, PROCESS, OUTCOME, FAILED, SLOW, CONNECT, WAIT, RTT, SENT, RECEIVED, LOST, ID, PARTS,
    SPANS, ATTEMPTS, TURNS, SENTENCES, FACTS, FIGURES] = Array(21).keys();

  function element(name, className, content) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (content !== undefined) made.textContent = content;
    return made;
  }

  function drawn(name, attributes, content) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (content !== undefined) made.textContent = content;
    return made;
  }

  const threeDigits = (value) => value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);

  function time(us) {
    if (us === null) return "–";
    if (us < 999.5) return `${us} µs`;
    if (us < 999500) return `${threeDigits(us / 1e3)} ms`;
    if (us < 119.5e6) return `${threeDigits(us / 1e6)} s`;
    if (us < 7170e6) return `${threeDigits(us / 6e7)} min`;
    return `${threeDigits(us / 3.6e9)} h`;
  }

  function bytes(count) {
    if (count < 1000) return `${count} B`;
    const units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let value = count / 1000;
    while (value >= 999.5 && units.length > 1) {
      value /= 1000;
      units.shift();
    }
    return `${threeDigits(value)} ${units[0]}`;
  }

  const count = (number) => number === null ? "–" : number.toLocaleString("en");

  const local = (at) => new Date((data.base + at) / 1000 + offset).toISOString();
  const starts = data.rows.map((row) => row[AT]).filter((at) => at !== null);
  const latest = starts.reduce((a, b) => Math.max(a, b), 0);
  const isOneDay = starts.length === 0 || local(0).slice(0, 10) === local(latest).slice(0, 10);

  function clock(at) {
    if (at === null) return "–";
    const iso = local(at);
    return isOneDay ? iso.slice(11, 23) : `${iso.slice(5, 10)} ${iso.slice(11, 19)}`;
  }

  // Sorting

  const byValue = (a, b) => {
    if (typeof a === "string") return a.localeCompare(b);
    // What is not known comes last, whatever the order.
    return a - b;
  };

  /** Gives a table's column headers buttons that sort; `sort(column, isDescending)` is called. */
  function makeSortable(headers, isNumber, sort) {
    headers.forEach((header, column) => {
      const button = element("button", "", header.textContent);
      button.type = "button";
      header.textContent = "";
      header.append(button);
      button.addEventListener("click", () => {
        const current = header.getAttribute("aria-sort");
        // Figures begin with the largest, texts with A.
        const isDescending = current ? current === "ascending" : isNumber(column);
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
        sort(column, isDescending);
      });
    });
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const value = (row, column) => {
      const cell = row.cells[column];
      return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
    };
    const isNumber = (column) =>
      body.rows.length > 0 && body.rows[0].cells[column].dataset.v !== undefined;
    makeSortable([...table.tHead.rows].at(-1).querySelectorAll("th"), isNumber, (column, isDescending) => {
      const rows = [...body.rows];
      rows.sort((a, b) => byValue(value(a, column), value(b, column)) * (isDescending ? -1 : 1));
      body.append(...rows);
    });
  }

  // The list

  const hasProcess = data.rows.some((row) => text[row[PROCESS]] !== "");
  const hasLoss = data.rows.some((row) => row[LOST] > 0);
  const columns = [
    { name: "Start", field: AT, show: clock },
    { name: "Target", field: TARGET, isText: true },
    { name: "Program", field: PROCESS, isText: true, isHidden: !hasProcess },
    { name: "Duration", field: DURATION, show: time },
    { name: "Connect", field: CONNECT, show: time },
    { name: "Wait", field: WAIT, show: time },
    { name: "RTT", field: RTT, show: time },
    { name: "Sent", field: SENT, show: bytes },
    { name: "Received", field: RECEIVED, show: bytes },
    { name: "Lost", field: LOST, show: count, isHidden: !hasLoss, isBad: (row) => row[LOST] > 0 },
    { name: "Slow by", field: SLOW, isText: true },
    { name: "Outcome", field: OUTCOME, isText: true, isBad: (row) => row[FAILED] === 1 },
  ].filter((column) => !column.isHidden);

  const table = document.getElementById("connections");
  const body = table.tBodies[0];
  const more = document.getElementById("more");
  const words = document.getElementById("words");
  const outcome = document.getElementById("outcome");
  const slow = document.getElementById("slow");
  const order = data.rows.map((_, number) => number);
  let found = order;
  let limit = AT_ONCE;
  const opened = new Set();

  const haystacks = data.rows.map((row) =>
    [text[row[TARGET]], text[row[PROCESS]], text[row[OUTCOME]], row[ID], ...row[FACTS].map((fact) => text[fact[1]])]
      .join("\n").toLowerCase());

  function value(number, column) {
    const field = data.rows[number][column.field];
    return column.isText ? text[field] : field;
  }

  function sort(column, isDescending) {
    order.sort((a, b) => {
      const [one, other] = [value(a, column), value(b, column)];
      // What is not known comes last in either order.
      if (one === null || other === null) return (one === null) - (other === null);
      return byValue(one, other) * (isDescending ? -1 : 1) || a - b;
    });
  }

  function find() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter((word) => word !== "");
    found = order.filter((number) => {
      const row = data.rows[number];
      const isOutcome = outcome.value === "" || text[row[OUTCOME]] === outcome.value
        || (outcome.value === "failed" && row[FAILED] === 1);
      return isOutcome && (slow.value === "" || text[row[SLOW]] === slow.value)
        && wanted.every((word) => haystacks[number].includes(word));
    });
    limit = AT_ONCE;
    draw();
  }

  function draw() {
    const rows = document.createDocumentFragment();
    for (const number of found.slice(0, limit)) {
      rows.append(row(number));
      if (opened.has(number)) rows.append(detail(number));
    }
    body.replaceChildren(rows);
    const left = found.length - Math.min(limit, found.length);
    more.hidden = left === 0;
    more.textContent = `Show ${count(Math.min(left, 5 * AT_ONCE))} more`;
    const isAll = found.length === data.rows.length;
    document.getElementById("shown").textContent = isAll
      ? `${count(found.length)} listed` : `${count(found.length)} of ${count(data.rows.length)} match`;
  }

  function row(number) {
    const values = data.rows[number];
    const made = element("tr", "row");
    made.id = `c${number}`;
    columns.forEach((column, place) => {
      const field = values[column.field];
      const shown = column.isText ? text[field] : column.show(field);
      const cell = element("td", column.isText ? "text" : "n");
      if (column.isBad && column.isBad(values)) cell.classList.add("wrong");
      if (place === 0) {
        cell.className = "";
        const button = element("button", "open");
        button.type = "button";
        button.setAttribute("aria-expanded", opened.has(number));
        button.setAttribute("aria-label", `Timeline of the connection to ${text[values[TARGET]]} at ${shown}`);
        cell.append(button);
      }
      cell.append(shown);
      if (column.isText) cell.title = shown;
      made.append(cell);
    });
    const parts = element("td", "parts");
    const whole = values[PARTS].reduce((a, b) => a + b, 0) || 1;
    const bar = drawn("svg", { width: "100%", height: 10, role: "img" });
    const described = [];
    let x = 0;
    values[PARTS].forEach((length, part) => {
      if (length === 0) return;
      const [name, className] = data.parts[part];
      const share = length * 100 / whole;
      const isIdle = className === "idle";
      bar.append(drawn("rect", {
        x: `${x}%`, width: `${share}%`, class: className, y: isIdle ? 4 : 0, height: isIdle ? 2 : 10,
      }));
      described.push(`${name} ${time(length)}`);
      x += share;
    });
    bar.setAttribute("aria-label", described.join(", "));
    bar.append(drawn("title", {}, described.join("\n")));
    parts.append(bar);
    made.append(parts);
    return made;
  }

  // The timeline of one connection

  function lanes(values) {
    const whole = Math.max(values[DURATION], 1);
    const list = element("ol", "lanes");
    const percent = (us) => `${(us * 100 / whole).toFixed(3)}%`;
    const magnitude = 10 ** Math.floor(Math.log10(whole / 6));
    const step = [1, 2, 5, 10].map((factor) => factor * magnitude).find((size) => whole / size <= 6);
    const ticks = [];
    for (let tick = 0; tick <= whole * 0.94; tick += step) ticks.push(tick);
    const lane = (label, pieces, note, isBad) => {
      const item = element("li");
      item.append(element("span", "label", label));
      const svg = drawn("svg", { width: "100%", height: 18, "aria-hidden": "true" });
      for (const tick of ticks) svg.append(drawn("line", { x1: percent(tick), x2: percent(tick), y2: 18 }));
      for (const [className, start, length] of pieces) {
        svg.append(drawn("rect", {
          x: percent(start), width: percent(Math.max(length, whole / 400)), y: 4, height: 10, class: className,
        }));
      }
      item.append(svg, element("span", isBad ? "wrong" : "", note));
      list.append(item);
    };
    const axis = element("li", "axis");
    axis.setAttribute("aria-hidden", "true");
    const scale = drawn("svg", { width: "100%", height: 16 });
    ticks.forEach((tick, place) => scale.append(drawn("text", {
      x: percent(tick), y: 11, "text-anchor": place === 0 ? "start" : "middle",
    }, place === 0 ? "0" : time(tick))));
    axis.append(element("span"), scale, element("span"));
    list.append(axis);
    lane("accepted", [], clock(values[AT]));
    const isTurn = values[TURNS].length > 0;
    data.parts.forEach(([name, className], part) => {
      if (className === "connect" && values[ATTEMPTS].length > 1) return;
      // Turns have lanes of their own.
      if (className === "idle" || (isTurn && (className === "wait" || className === "transfer"))) return;
      const pieces = values[SPANS].filter((span) => span[0] === part);
      if (pieces.length === 0) return;
      const whole = pieces.reduce((sum, [, , length]) => sum + length, 0);
      lane(name, pieces.map(([, start, length]) => [className, start, length]), time(whole));
    });
    for (const [address, start, length, result] of values[ATTEMPTS]) {
      if (values[ATTEMPTS].length === 1 && text[result] === "connected") continue;
      const isBad = text[result] !== "connected" && text[result] !== "cancelled";
      lane(`to ${text[address]}`, [["connect", start, length]], `${time(length)}, ${text[result]}`, isBad);
    }
    values[TURNS].forEach(([start, request, wait, answer, result], place) => {
      const pieces = [["transfer", start, request], ["wait", start + request, wait],
        ["transfer", start + request + wait, answer]].filter(([, , length]) => length > 0);
      const name = values[TURNS].length === 1 ? "turn" : `turn ${place + 1}`;
      lane(name, pieces, `waited ${time(wait)}; ${text[result]}`);
    });
    lane("ended", [["turn", whole * 0.997, 0]], `after ${time(values[DURATION])}: ${text[values[OUTCOME]]}`, values[FAILED] === 1);
    return list;
  }

  function pairs(rows, head) {
    const made = element("table");
    for (const cells of head ? [head, ...rows] : rows) {
      const line = made.insertRow();
      cells.forEach((cell, place) => {
        line.append(element(place === 0 || cells === head ? "th" : "td", "", cell));
      });
    }
    return made;
  }

  function detail(number) {
    const values = data.rows[number];
    const line = element("tr", "detail");
    const cell = line.insertCell();
    cell.colSpan = columns.length + 1;
    const card = element("div", "card");
    for (const sentence of values[SENTENCES]) card.append(element("p", "", text[sentence]));
    card.append(element("h3", "", "Timeline"), lanes(values));
    const sides = element("div", "sides");
    const left = element("div");
    left.append(element("h3", "", "Both sockets"), pairs(
      values[FIGURES].map(([name, client, upstream]) => [text[name], text[client] || "–", text[upstream] || "–"]),
      ["", "client", "upstream"]));
    const right = element("div");
    const facts = values[FACTS].map(([name, fact]) => [text[name], text[fact]]);
    right.append(element("h3", "", "Where from"), pairs([...facts, ["id", values[ID]]]));
    sides.append(left, right);
    card.append(sides);
    cell.append(card);
    return line;
  }

  function toggle(number) {
    const line = document.getElementById(`c${number}`);
    const isOpen = opened.delete(number);
    if (isOpen) line.nextElementSibling.remove();
    else {
      opened.add(number);
      line.after(detail(number));
    }
    line.querySelector(".open").setAttribute("aria-expanded", !isOpen);
  }

  /** Opens the row that the address names, `#c17`. */
  function openNamed() {
    const number = Number((/^#c(\d+)$/.exec(location.hash) || [])[1]);
    if (!(number < data.rows.length)) return;
    if (!found.includes(number)) {
      words.value = outcome.value = slow.value = "";
      find();
    }
    opened.add(number);
    limit = Math.max(limit, found.indexOf(number) + 1);
    draw();
    const line = document.getElementById(`c${number}`);
    line.scrollIntoView({ block: "start" });
    line.querySelector(".open").focus({ preventScroll: true });
  }

  const head = table.tHead.rows[0];
  for (const column of columns) {
    const header = element("th", column.isText || column.field === AT ? "" : "n", column.name);
    header.scope = "col";
    head.append(header);
  }
  makeSortable([...head.cells], (place) => !columns[place].isText && columns[place].field !== AT, (place, isDescending) => {
    sort(columns[place], isDescending);
    find();
  });
  head.append(element("th", "", "Time went to"));
  head.lastChild.scope = "col";
  sort(columns[0], false);
  head.cells[0].setAttribute("aria-sort", "ascending");

  const options = (select, field, isWanted) => {
    const names = new Set(data.rows.filter(isWanted).map((row) => text[row[field]]));
    for (const name of [...names].filter((name) => name !== "").sort()) select.append(new Option(name, name));
  };
  options(outcome, OUTCOME, () => true);
  options(slow, SLOW, () => true);
  words.addEventListener("input", find);
  outcome.addEventListener("change", find);
  slow.addEventListener("change", find);
  more.addEventListener("click", () => {
    limit += 5 * AT_ONCE;
    draw();
  });
  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr.row");
    // Selecting text is not opening.
    if (line && !String(getSelection())) toggle(Number(line.id.slice(1)));
  });
  body.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const buttons = [...body.querySelectorAll(".open")];
    const next = buttons[buttons.indexOf(event.target) + step];
    if (step && buttons.includes(event.target) && next) {
      next.focus();
      event.preventDefault();
    }
  });
  addEventListener("hashchange", openNamed);

  document.getElementById("filters").hidden = false;
  table.hidden = false;
  find();
  openNamed();
})();
