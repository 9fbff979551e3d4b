// The plots of the overview, drawn by uPlot from /api/v1/samples; asked for again every half minute.
"use strict";

(() => {
  const AGAIN_MS = 30000;
  const drawn = new Map();
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const UNITS = ["", "k", "M", "G", "T"];
  function short(value, unit, decimals = 0) {
    if (value === null || value === undefined) return "–";
    if (unit === "share") return `${Math.round(value * 100)} %`;
    if (unit === "s") return value < 120 ? `${value.toFixed(decimals)} s` : value < 7200 ? `${Math.round(value / 60)} min` : `${(value / 3600).toFixed(1)} h`;
    let power = 0;
    while (Math.abs(value) >= 1000 && power < UNITS.length - 1) {
      value /= 1000;
      power += 1;
    }
    const digits = Math.max(decimals, value && Math.abs(value) < 10 && value % 1 ? 1 : 0);
    return `${value.toFixed(digits)}${UNITS[power]}${unit ? ` ${unit}` : ""}`;
  }

  // Between two marks of an axis: as many decimals as tell them apart.
  const decimalsOf = (step) => (step >= 1 ? 0 : step >= 0.1 ? 1 : 2);
  const twoDigits = (number) => String(number).padStart(2, "0");

  function moment(seconds, step) {
    const at = new Date(seconds * 1000);
    if (step >= 86400) return `${twoDigits(at.getMonth() + 1)}-${twoDigits(at.getDate())}`;
    return `${twoDigits(at.getHours())}:${twoDigits(at.getMinutes())}`;
  }

  // A value between two gaps has no line: it is a point.
  function alone(plot, series) {
    const values = plot.data[series];
    const known = (place) => values[place] !== null && values[place] !== undefined;
    return values.map((_value, place) => place).filter((place) => known(place) && !known(place - 1) && !known(place + 1));
  }

  function options(figure, names, unit) {
    const colors = [css("--plot-1"), css("--plot-2"), css("--plot-3"), css("--plot-4")];
    const axis = { stroke: css("--soft"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false } };
    return {
      width: Math.max(200, figure.clientWidth - 24),
      height: 150,
      cursor: { y: false, points: { size: 6 } },
      legend: { live: true },
      scales: { y: { range: (_plot, _low, high) => [0, Math.max(high * 1.1, unit === "share" ? 1 : unit ? 1 : 2)] } },
      axes: [
        { ...axis, space: 70, values: (_plot, times, _axis, _space, step) => times.map((time) => moment(time, step)) },
        { ...axis, size: 62, values: (_plot, values, _axis, _space, step) => values.map((value) => short(value, unit, decimalsOf(step))) },
      ],
      series: [
        { value: (_plot, value) => (value ? new Date(value * 1000).toLocaleTimeString() : "–") },
        ...names.map((name, place) => ({
          label: name,
          stroke: colors[place % colors.length],
          width: 2,
          fill: place === 0 ? `${colors[0]}22` : undefined,
          spanGaps: false,
          points: { show: true, size: 5, filter: alone },
          value: (_plot, value) => short(value, unit),
        })),
      ],
    };
  }

  function draw(figure, samples) {
    const unit = figure.dataset.unit || "";
    const prefix = figure.dataset.prefix;
    const isKnown = (key) => (samples.values[key] || []).some((value) => value !== null);
    const all = prefix ? Object.keys(samples.values).filter((key) => key.startsWith(prefix)) : figure.dataset.series.split(",");
    const called = prefix ? all.map((key) => key.slice(prefix.length, prefix.length + 8)) : figure.dataset.names.split(",");
    const keys = all.filter((key, place) => place === 0 || isKnown(key)); // without a budget there is no line of it
    const names = called.filter((_name, place) => place === 0 || isKnown(all[place]));
    const known = keys.some(isKnown);
    figure.hidden = !known && "optional" in figure.dataset;
    if (figure.hidden) return;
    const gaps = samples.times_s.map(() => null);
    const data = [samples.times_s, ...keys.map((key) => samples.values[key] || gaps)];
    const last = keys.map((key, place) => {
      const values = (samples.values[key] || []).filter((value) => value !== null);
      return `${names[place]} ${short(values.at(-1), unit)}`;
    });
    figure.setAttribute("role", "img");
    figure.setAttribute("aria-label", `${figure.querySelector("figcaption").textContent} over ${samples.range}: ${last.join(", ")}`);
    const before = drawn.get(figure);
    if (before && before.names === names.join()) {
      before.plot.setData(data);
      return;
    }
    before?.plot.destroy();
    drawn.set(figure, { names: names.join(), plot: new uPlot(options(figure, names, unit), data, figure) });
  }

  const figures = () => document.querySelectorAll("figure.plot");
  let latest = null;

  async function ask() {
    const range = document.querySelector("#ranges input:checked").value;
    try {
      const response = await fetch(`/api/v1/samples?range=${range}`, { headers: { "X-Requested-With": "ClusterODM" }, signal: AbortSignal.timeout(20000) });
      if (!response.ok) return;
      latest = await response.json();
      for (const figure of figures()) draw(figure, latest);
    } catch { /* the next time tells */ }
  }

  function again() {
    for (const { plot } of drawn.values()) plot.destroy();
    drawn.clear();
    if (latest) for (const figure of figures()) draw(figure, latest);
  }

  document.getElementById("ranges").addEventListener("change", ask);
  dark.addEventListener("change", again);
  let resizing = 0;
  addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(again, 200);
  });
  setInterval(ask, AGAIN_MS);
  ask();
})();
