// Put behind the page's own scripts by its test: uses the page as a reader would, and writes what happened to its end.
(() => {
  const data = JSON.parse(document.getElementById("study-data").textContent);
  const chart = (id) => echarts.getInstanceByDom(document.getElementById(id));
  const plots = [...document.querySelectorAll(".plot")];
  const flush = () => plots.forEach((plot) => chart(plot.id).getZr().flush());
  flush();
  const drawnAfterMs = performance.now();

  const mouse = (kind, target, [x, y]) => target.dispatchEvent(new MouseEvent(kind, { bubbles: true, clientX: x, clientY: y, view: window }));
  // The middle of a model's point on the screen, and what lies on top there.
  function place(id, model) {
    const plot = document.getElementById(id);
    plot.scrollIntoView({ block: "center" });
    const series = chart(id).getOption().series;
    const seriesIndex = series.findIndex(({ data: items }) => items.some((item) => item.model === model));
    const { value } = series[seriesIndex].data.find((item) => item.model === model);
    const [x, y] = chart(id).convertToPixel({ seriesIndex }, value);
    const { left, top } = plot.getBoundingClientRect();
    return [left + x, top + y];
  }
  const wanted = data.fronts[0].find((at) => data.models[at].lost.length > 0 && at !== data.chosen);
  const at = place("points", wanted);
  const target = document.elementFromPoint(...at);
  mouse("mousemove", target, at);
  flush();
  const tip = document.querySelector("#points > div:last-child").textContent;
  ["mousedown", "mouseup", "click"].forEach((kind) => mouse(kind, target, at));
  flush();
  const gone = () => [...document.querySelectorAll(".network li.gone")].map((unit) => Number(unit.dataset.layer));
  const clicked = gone();
  const told = document.getElementById("points-told").textContent;

  const press = (id, key) => document.getElementById(id).dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  press("points", "ArrowRight");
  const byKey = document.getElementById("points-told").textContent;
  press("points", "+");
  const zoomed = chart("points").getOption().dataZoom.map(({ start, end }) => end - start);
  const model = document.getElementById("model");
  model.value = "2";
  model.dispatchEvent(new Event("change"));
  const selected = gone();
  const by = document.getElementById("points-timed");
  by.value = "3";
  by.dispatchEvent(new Event("change"));
  flush();

  const result = document.body.appendChild(document.createElement("pre"));
  result.id = "result";
  const seen = JSON.stringify({
    errors: window.errors, drawnAfterMs, tip, told, clicked, wanted, byKey, zoomed, selected,
    marks: Object.fromEntries(plots.map((plot) => [plot.id, plot.querySelectorAll("svg path").length])),
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    inks: [...document.querySelectorAll("#points svg path")].map((path) => path.getAttribute("fill")),
    width: innerWidth, overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    together: [...document.querySelectorAll("select.timed")].map((select) => select.value),
  });
  result.textContent = seen;
  if (parent !== window) parent.postMessage(seen, "*");
})();
