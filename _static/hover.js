// Figures that answer a pointer. Behind such a figure lies its twin, as JSON in Plotly's format
// (_ext/hover.py put it there). When the figure comes near the window, the twin is drawn in place
// of the picture. The picture stays on the page: for paper, and wherever anything here fails.
(() => {
  const library = new URL("plotly.min.js", document.currentScript.src).href;
  const NARROW = 500; // pixels; below, panels stand one above the other
  let loading;

  // Plotly is large, so it is asked for when the first figure needs it, and once.
  function plotly() {
    loading ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = library;
      script.onload = () => resolve(window.Plotly);
      script.onerror = reject;
      document.head.append(script);
    });
    return loading;
  }

  // What was drawn black and white takes the page's own ink and paper.
  function themed(json) {
    const style = getComputedStyle(document.body);
    const ink = style.getPropertyValue("--pst-color-text-base").trim() || "#000000";
    const paper = style.getPropertyValue("--pst-color-background").trim() || "#ffffff";
    const figure = JSON.parse(json.replaceAll("#000000", ink).replaceAll("#ffffff", paper));
    Object.assign(figure.layout, {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      dragmode: false, // a finger on the figure scrolls the page
      font: { family: style.fontFamily, size: 13, color: ink },
      hoverlabel: { bgcolor: paper, bordercolor: ink, font: { color: ink, size: 14 }, align: "left" },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", itemclick: false, itemdoubleclick: false },
      margin: { l: 10, r: 10, t: 30, b: 10 },
    });
    return figure;
  }

  // Panels beside each other keep the picture's shape; on a phone they are stacked.
  function fitted(figure, width, shape) {
    const { data, layout } = figure;
    const axes = Object.keys(layout).filter((key) => /^[xy]axis/.test(key));
    const panels = axes.filter((key) => key.startsWith("y"));
    const columns = panels.filter((key) => layout[key.replace("y", "x")].domain[0] > 0).length;
    const stacked = width < NARROW && columns > 0;
    for (const key of axes) {
      const last = panels.length - 1 - panels.indexOf(key.replace(/^x/, "y"));
      if (stacked) {
        const size = 1.14 / panels.length;
        layout[key].domain = key[0] === "x" ? [0, 1] : [last * size, (last + 1) * size - 0.14];
      }
      Object.assign(layout[key], { fixedrange: true, ticks: "", linecolor: layout.font.color });
      if (!layout[key].ticktext.length) layout[key].showline = true;
    }
    for (const trace of data.filter((trace) => trace.showscale)) {
      const [low, high] = layout[trace.yaxis.replace("y", "yaxis")].domain;
      Object.assign(trace.colorbar, { y: (low + high) / 2, len: high - low });
      if (stacked) trace.colorbar.x = 1;
    }
    if (width < NARROW) {
      for (const note of layout.annotations) {
        if (note.text.length > 46) note.text = `${note.text.slice(0, 45)}…`;
        note.font = { ...note.font, size: 12 };
      }
    }
    layout.width = width;
    layout.height = stacked
      ? panels.length * width * 0.95
      : Math.max(Math.round(width * shape), 350);
    const entries = layout.showlegend ? data.filter((trace) => trace.showlegend).length : 0;
    layout.height += 20 * (width < NARROW ? entries : Math.ceil(entries / 3));
    return figure;
  }

  // What of a trace can be read out, as Plotly's own hover takes it.
  function places(trace, curveNumber) {
    if (trace.hoverinfo === "skip") return [];
    if (trace.z) {
      const subplot = trace.xaxis + trace.yaxis;
      return trace.z.flatMap((row, yval) => row.map((_, xval) => ({ subplot, xval, yval })));
    }
    const drawn = trace.x.flatMap((x, i) => (x === null || trace.y[i] === null ? [] : [i]));
    return drawn.map((pointNumber) => ({ curveNumber, pointNumber }));
  }

  function start(store) {
    const picture = store.previousElementSibling?.querySelector("img");
    if (!picture) return;
    const shown = picture.closest("a") ?? picture;
    const plot = document.createElement("div");
    plot.className = "hover-plot";
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", picture.alt);
    plot.tabIndex = 0;
    const spoken = document.createElement("div");
    spoken.className = "hover-spoken";
    spoken.setAttribute("aria-live", "polite");
    let width = 0;

    async function draw() {
      const Plotly = await plotly();
      if (!plot.isConnected) {
        shown.classList.add("hover-picture");
        shown.after(plot, spoken);
      }
      width = plot.clientWidth;
      await picture.decode().catch(() => {});
      const shape = picture.naturalHeight / picture.naturalWidth || 0.7;
      const { data, layout } = fitted(themed(store.textContent), width, shape);
      await Plotly.react(plot, data, layout, { displayModeBar: false, responsive: false });
    }

    // Arrow keys go from point to point, as a pointer does.
    let place = -1;
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step || !plot.data) return;
      event.preventDefault();
      const points = plot.data.flatMap(places);
      const row = /Up|Down/.test(event.key) ? plot.data[0].z?.[0].length ?? 1 : 1;
      place = (place + step * row + points.length) % points.length;
      const { subplot, ...point } = points[place];
      window.Plotly.Fx.hover(plot, subplot ? point : [point], subplot);
      setTimeout(speak, 60); // Plotly draws one label in 50 ms
    });
    function speak() {
      const lines = plot.querySelectorAll(".hoverlayer tspan.line");
      spoken.textContent = Array.from(lines, (line) => line.textContent).filter(Boolean).join(", ");
    }

    const failed = (error) => console.warn("The picture stays a picture:", error);
    new IntersectionObserver((entries, observer) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      draw().then(() => {
        new ResizeObserver(() => plot.clientWidth !== width && plot.clientWidth && draw()).observe(plot);
        new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
      }, failed);
    }, { rootMargin: "400px" }).observe(store.previousElementSibling);
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("script.dlfb-hover").forEach(start);
  });
})();
