// Draws the figures of a study from the numbers in `study-data`. All of them were worked out where the page was made.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("study-data").textContent);
  const state = { by: 0, model: data.chosen, score: 0 };
  const root = document.documentElement;
  const narrow = () => innerWidth < 600;

  // Colours and words

  const colour = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const colourOf = (removes) => colour(removes === "layers" || removes === "filters" ? removes : "other");
  const fixed = (number, places) => number.toFixed(places).replace("-", "−");
  const percent = (number, places) => fixed(number, places) + " %";
  const spread = ([mean, deviation], places) =>
    deviation === null ? fixed(mean, places) : `${fixed(mean, places)} ± ${fixed(deviation, places)}`;

  const title = (model) =>
    [model.arm, model.budget, model.seed === null ? "" : `seed ${model.seed}`].filter(Boolean).join(", ");

  function aboutModel(at, by) {
    const model = data.models[at];
    const lines = [title(model)];
    if (model.top1 !== null) lines.push(`top-1 ${percent(model.top1, 2)}${model.stated ? " (stated)" : ""}`);
    const timed = model.timed[by];
    if (timed && timed.ms) {
      const [low, high] = timed.interval;
      lines.push(`latency reduction ${percent(timed.reduction, 2)} (${fixed(low, 2)} to ${fixed(high, 2)})`);
      lines.push(`${fixed(timed.ms[0], 3)} ms, whole model ${fixed(timed.ms[1], 3)} ms at ${data.timed[by]}`);
    }
    if (model.lost.length) lines.push(`layers gone: ${model.lost.length}`);
    if (model.filters) lines.push(`filters gone: ${model.filters}`);
    lines.push(`parameters ${model.parameters.toLocaleString("en")}`);
    if (model.file) lines.push(model.file);
    return lines;
  }

  function loss(at) {
    const model = data.models[at];
    const lost = model.lost.map((layer) => data.layers[layer]).join(", ");
    const filters = model.filters ? ` ${model.filters} filters of other layers went.` : "";
    return lost ? `${title(model)}: ${lost} went.${filters}` : `${title(model)}: no layer went.${filters}`;
  }

  // Names come from outside, so a tooltip is made of text nodes.
  function tooltip(lines) {
    const box = document.createElement("div");
    box.style.cssText = "max-width: min(24rem, 70vw); white-space: normal; overflow-wrap: anywhere";
    lines.forEach((line, at) => {
      const row = box.appendChild(document.createElement("div"));
      row.textContent = line;
      if (at === 0) row.style.fontWeight = "600";
    });
    return box;
  }

  // What the figures share

  // Room for labels is measured by their own font, not by that of the whole chart.
  const FONT = "system-ui, sans-serif";

  function axis(name, more = {}) {
    return {
      type: "value", name, scale: true, nameLocation: "middle", nameGap: 30,
      nameTextStyle: { color: colour("muted") }, axisLabel: { color: colour("muted"), fontFamily: FONT, hideOverlap: true },
      axisLine: { lineStyle: { color: colour("muted") } }, splitLine: { lineStyle: { color: colour("edge") } }, ...more,
    };
  }

  function frame(more) {
    const zoom = (axes) => ({
      type: "inside", filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseMove: "shift", moveOnMouseWheel: false, ...axes,
    });
    return {
      animation: false, textStyle: { fontFamily: FONT, color: colour("text") },
      grid: { left: 56, right: 20, top: 48, bottom: 48 },
      legend: { type: "scroll", top: 0, textStyle: { color: colour("text") }, pageTextStyle: { color: colour("text") },
        inactiveColor: colour("edge"), pageIconColor: colour("text"), pageIconInactiveColor: colour("edge") },
      tooltip: { trigger: "item", confine: true, transitionDuration: 0, backgroundColor: colour("card"), borderColor: colour("muted"),
        textStyle: { color: colour("text"), fontSize: 13 }, formatter: ({ data: point }) => point && point.lines ? tooltip(point.lines()) : "" },
      dataZoom: [zoom({ xAxisIndex: 0 }), zoom({ yAxisIndex: 0 })],
      ...more,
    };
  }

  function point(at, by, value, more = {}) {
    return { value, model: at, lines: () => aboutModel(at, by), ...more };
  }

  const STAR = "path://M5,0L6.5,3.5L10,4L7.5,6.5L8,10L5,8.2L2,10L2.5,6.5L0,4L3.5,3.5Z";
  const SYMBOLS = ["circle", "triangle", "rect", "diamond", "roundRect", "arrow", STAR];
  const CROSS = "path://M4,0H6V4H10V6H6V10H4V6H0V4H4Z";

  // Figures

  function boxes() {
    const rows = data.timed.flatMap((timed, by) => data.lots.map((lot) => ({ timed, by, lot })));
    const shown = rows.filter(({ by, lot }) => lot.spread[by]);
    const about = ({ timed, by, lot }) => {
      const { five, count, mean } = lot.spread[by];
      return [`${timed}: ${count} models that lost ${lot.removes}`, `median ${percent(five[2], 1)}`,
        `middle half ${fixed(five[1], 1)} to ${percent(five[3], 1)}`, `all ${fixed(five[0], 1)} to ${percent(five[4], 1)}`,
        `mean ${spread(mean, 1)} %`];
    };
    byId("boxes").style.height = `${6 + 2.8 * shown.length}rem`;
    const label = ({ timed, lot }) => (narrow() ? `${timed}\n${lot.removes}` : `${timed} · ${lot.removes}`);
    const dots = (lot) => shown.flatMap((row, at) => row.lot !== lot ? [] : lot.models
      .filter((model) => data.models[model].timed[row.by])
      .map((model, nth) => point(model, row.by, [data.models[model].timed[row.by].reduction, at],
        { symbolOffset: [0, ((nth * 7919) % 17 - 8) * 1.2] })));
    return frame({
      legend: { show: false },
      grid: { left: 8, right: 20, top: 12, bottom: 48, containLabel: true },
      xAxis: axis("latency reduction in %"),
      yAxis: axis("", { type: "category", data: shown.map(label), inverse: true, splitLine: { show: false },
        axisLabel: { color: colour("text"), fontFamily: FONT, fontSize: 12, lineHeight: 14 } }),
      series: [
        { type: "boxplot", name: "spread", boxWidth: [8, 26], data: shown.map((row) => ({
          value: row.lot.spread[row.by].five, lines: () => about(row),
          itemStyle: { color: "transparent", borderColor: colourOf(row.lot.removes), borderWidth: 2 } })) },
        ...data.lots.map((lot, nth) => ({ type: "scatter", name: lot.removes, data: dots(lot), symbolSize: 5, symbol: SYMBOLS[nth],
          itemStyle: { color: colourOf(lot.removes), opacity: 0.5 } })),
      ],
    });
  }

  function lots() {
    const by = state.by;
    const series = data.lots.flatMap((lot, nth) => {
      const ink = colourOf(lot.removes);
      const known = lot.models.filter((at) => data.models[at].top1 !== null && data.models[at].timed[by]);
      const dots = known.map((at) => point(at, by, [data.models[at].timed[by].reduction, data.models[at].top1]));
      const name = `${lot.removes} removed`;
      const all = { type: "scatter", name, data: dots, symbolSize: 8, symbol: SYMBOLS[nth], itemStyle: { color: ink, opacity: 0.6 } };
      const mean = lot.trained[by];
      if (!mean) return [all];
      const [[x, dx], [y, dy]] = [mean.reduction, mean.top1];
      const arm = (from, to) => [{ coord: from }, { coord: to }];
      const arms = dx === null ? [] : [arm([x - dx, y], [x + dx, y]), arm([x, y - dy], [x, y + dy])];
      const lines = () => [`mean of ${mean.count} models that lost ${lot.removes}`, `top-1 ${spread(mean.top1, 2)} %`,
        `latency reduction ${spread(mean.reduction, 1)} %`, `at ${data.timed[by]}`];
      return [all, { type: "scatter", name, z: 5, symbol: CROSS, symbolSize: 20, data: [{ value: [x, y], lines }],
        itemStyle: { color: ink, borderColor: colour("card"), borderWidth: 1 },
        markLine: { silent: true, symbol: "none", label: { show: false }, data: arms, lineStyle: { color: ink, width: 2, type: "solid" } } }];
    });
    return frame({ xAxis: axis("latency reduction in %"), yAxis: axis("top-1 in %", { nameGap: 40 }), series });
  }

  function points() {
    const by = state.by;
    const drawn = (model) => model.top1 !== null && model.timed[by];
    const at = (model) => [model.timed[by].reduction, model.top1];
    const front = new Set(data.fronts[by]);
    const arms = new Map();
    data.models.forEach((model, nth) => {
      if (model.origin === "random" || !drawn(model)) return;
      const name = model.origin === "method" ? model.arm : model.origin === "whole" ? "whole model" : "other networks";
      if (!arms.has(name)) arms.set(name, []);
      arms.get(name).push(nth);
    });
    const symbols = { layers: 0, filters: 0, other: 0 };
    const series = [...arms].map(([name, members]) => {
      const { origin, removes } = data.models[members[0]];
      const whole = origin === "whole", other = origin === "handcrafted";
      const kind = removes in symbols ? removes : "other";
      const ink = whole ? colour("text") : other ? colour("handcrafted") : colourOf(removes);
      const symbol = whole ? CROSS : other ? "diamond" : SYMBOLS[symbols[kind]++ % SYMBOLS.length];
      const dots = members.map((nth) => {
        const model = data.models[nth], marked = nth === state.model;
        return point(nth, by, at(model), {
          symbolSize: whole ? 16 : marked ? 18 : front.has(nth) ? 13 : 9,
          itemStyle: { color: model.stated ? colour("card") : ink, borderColor: marked || front.has(nth) ? colour("text") : ink,
            borderWidth: marked ? 3 : front.has(nth) || model.stated ? 1.5 : 0 },
          label: other ? { show: true, formatter: () => model.arm, position: "top", color: ink } : undefined });
      });
      return { type: "scatter", name, data: dots, symbol, itemStyle: { color: ink, opacity: 0.9 } };
    });
    const line = { type: "line", name: "Pareto front", data: data.fronts[by].map((nth) => at(data.models[nth])), symbol: "none", silent: true,
      lineStyle: { color: colour("muted"), type: "dashed", width: 2 }, itemStyle: { color: colour("muted") }, z: 1 };
    return frame({ xAxis: axis("latency reduction in %"), yAxis: axis("top-1 in %", { nameGap: 40 }), series: [...series, line] });
  }

  function depth() {
    const tables = data.scores.map((table) => ({ ...table, rows: table.rows.filter((row) => row.accuracy) }));
    const shown = tables.filter((table) => table.rows.length);
    const layers = [...new Set(shown.flatMap((table) => table.rows.map((row) => row.layer)))].sort((a, b) => a - b);
    const lost = state.model === null ? [] : data.models[state.model].lost;
    const series = shown.flatMap((table, nth) => {
      const ink = colour(nth === 0 ? "filters" : nth === 1 ? "handcrafted" : "other");
      const dots = table.rows.map((row) => {
        const gone = lost.includes(row.layer);
        return { value: [layers.indexOf(row.layer), row.accuracy[0]], layer: row.layer,
          symbol: gone ? "path://M1,0L5,4L9,0L10,1L6,5L10,9L9,10L5,6L1,10L0,9L4,5L0,1Z" : "circle", symbolSize: gone ? 14 : 7,
          itemStyle: gone ? { color: colour("removed") } : {},
          lines: () => [data.layers[row.layer] + (gone ? " (removed)" : ""),
            `accuracy ${percent(row.accuracy[0], 2)} (${fixed(row.accuracy[1], 2)} to ${fixed(row.accuracy[2], 2)})`,
            `score ${row.score === null ? "not finite" : fixed(row.score, 3)} by ${table.criterion}`] };
      });
      const ends = table.rows.map((row) => [{ coord: [layers.indexOf(row.layer), row.accuracy[1]] },
        { coord: [layers.indexOf(row.layer), row.accuracy[2]] }]);
      const upright = nth ? [] : lost.filter((layer) => layers.includes(layer)).map((layer) => ({ xAxis: layers.indexOf(layer),
        lineStyle: { color: colour("removed"), type: "dashed" } }));
      return [{ type: "line", name: table.criterion, data: dots, itemStyle: { color: ink }, lineStyle: { color: ink, width: 2 },
        markLine: { silent: true, symbol: "none", label: { show: false }, lineStyle: { color: ink, width: 1.5, type: "solid" }, data: [...ends, ...upright] } }];
    });
    return frame({
      xAxis: axis("layer or block, in forward order", { type: "category", data: layers.map((layer) => data.layers[layer]),
        axisLabel: { color: colour("muted"), fontFamily: FONT, formatter: (_, at) => String(at + 1) }, splitLine: { show: false } }),
      yAxis: axis("accuracy in %", { nameGap: 40 }), series,
    });
  }

  // Charts, and the keyboard's way through them

  const charts = {};
  const figures = { boxes, lots, points, depth };

  function draw(only = Object.keys(charts)) {
    only.filter((id) => charts[id]).forEach((id) => {
      const chart = charts[id];
      const zoom = (chart.plot.getOption()?.dataZoom ?? []).map(({ start, end }) => ({ start, end }));
      const option = figures[id]();
      option.dataZoom.forEach((axis, at) => Object.assign(axis, zoom[at]));
      chart.plot.setOption(option, { notMerge: true });
      // Paper is narrower than most screens, and is printed before the next frame.
      const paper = root.classList.contains("paper");
      chart.plot.resize({ width: paper ? 660 : "auto" });
      if (paper) chart.plot.getZr().flush();
      chart.order = option.series.flatMap((series, seriesIndex) => (series.data ?? []).flatMap((item, dataIndex) =>
        item.lines ? [{ seriesIndex, dataIndex, item }] : []));
      if (id !== "boxes") chart.order.sort((a, b) => a.item.value[0] - b.item.value[0] || a.item.value[1] - b.item.value[1]);
    });
  }

  function zoom(id, way) {
    const { plot } = charts[id];
    plot.getOption().dataZoom.forEach(({ start, end }, dataZoomIndex) => {
      const [middle, half] = [(start + end) / 2, (end - start) / 2 * (way === "in" ? 0.7 : 1 / 0.7)];
      const all = way === "all" || half >= 50;
      plot.dispatchAction({ type: "dataZoom", dataZoomIndex, start: all ? 0 : Math.max(0, middle - half), end: all ? 100 : Math.min(100, middle + half) });
    });
  }

  function choose(at) {
    state.model = at;
    const { lost } = data.models[at];
    document.querySelectorAll(".network li").forEach((unit) => unit.classList.toggle("gone", lost.includes(Number(unit.dataset.layer))));
    if (byId("lost")) byId("lost").textContent = loss(at);
    if (byId("model")) byId("model").value = String(at);
    draw(["points", "depth"]);
  }

  function tell(id, at) {
    const told = byId(id + "-told");
    told.textContent = loss(at) + " ";
    if (!byId("network")) return;
    const link = told.appendChild(document.createElement("a"));
    link.href = "#network";
    link.textContent = "In the network";
  }

  function pick(id, item) {
    if (item?.model === undefined || data.models[item.model].origin === "handcrafted") return;
    choose(item.model);
    tell(id, item.model);
  }

  function onKey(id, event) {
    const chart = charts[id];
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const ways = { "+": "in", "=": "in", "-": "out", 0: "all" };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps && chart.order.length) {
      chart.at = ((chart.at ?? (steps[event.key] > 0 ? -1 : 0)) + steps[event.key] + chart.order.length) % chart.order.length;
      const { seriesIndex, dataIndex, item } = chart.order[chart.at];
      chart.plot.dispatchAction({ type: "showTip", seriesIndex, dataIndex });
      byId(id + "-told").textContent = item.lines().join("; ");
    } else if (event.key === "Enter" && chart.order[chart.at]) pick(id, chart.order[chart.at].item);
    else if (event.key === "Escape") chart.plot.dispatchAction({ type: "hideTip" });
    else if (event.key in ways) zoom(id, ways[event.key]);
    else return;
    event.preventDefault();
  }

  root.classList.add("drawn");
  Object.keys(figures).filter(byId).forEach((id) => {
    const place = byId(id);
    const plot = echarts.init(place, null, { renderer: "svg" });
    charts[id] = { plot };
    plot.on("click", ({ data: item }) => pick(id, item));
    place.addEventListener("keydown", (event) => onKey(id, event));
    place.addEventListener("blur", () => plot.dispatchAction({ type: "hideTip" }));
  });
  draw();

  document.querySelectorAll("[data-zoom]").forEach((button) =>
    button.addEventListener("click", () => zoom(button.parentElement.dataset.plot, button.dataset.zoom)));
  document.querySelectorAll("select.timed").forEach((select) => select.addEventListener("change", () => {
    state.by = Number(select.value);
    document.querySelectorAll("select.timed").forEach((other) => { other.value = select.value; });
    draw(["lots", "points"]);
  }));
  byId("model")?.addEventListener("change", ({ target }) => choose(Number(target.value)));
  byId("criterion")?.addEventListener("change", ({ target }) => {
    const { criterion, rows } = data.scores[Number(target.value)];
    document.querySelectorAll(".network li").forEach((unit) => {
      const row = rows.find(({ layer }) => layer === Number(unit.dataset.layer));
      unit.querySelector(".score").textContent = !row ? "–" : row.score === null ? "not finite" : Number(row.score.toPrecision(3)).toString().replace("-", "−");
    });
    byId("meaning").textContent = criterion;
  });

  let waiting = 0;
  addEventListener("resize", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => draw()); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  addEventListener("beforeprint", () => { root.classList.add("paper"); draw(); });
  addEventListener("afterprint", () => { root.classList.remove("paper"); draw(); });
})();
