// Structures that can be turned. Each box holds a still picture already; what is drawn here is laid over
// it, so that the picture is what remains on paper, without JavaScript, and where nothing can be drawn.
(() => {
  const library = new URL("vendor/3Dmol-min.js", document.currentScript.src).href;
  const stored = (key) => JSON.parse(document.getElementById(key).textContent);
  let loading;

  function load3Dmol() {
    loading ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = library;
      script.onload = resolve;
      script.onerror = () => reject(new Error("3Dmol could not be loaded"));
      document.head.append(script);
    });
    return loading;
  }

  // Asked before 3Dmol is loaded, which is large, and complains where it can't draw.
  function canDraw() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") ?? canvas.getContext("webgl"));
  }

  function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  // Draws a structure into a box, for the first time or in the place of another.
  async function draw(box, structure, style) {
    try {
      if (!box.viewer && !canDraw()) throw new Error("no WebGL");
      await load3Dmol();
      box.viewer ??= openViewer(box);
      const viewer = box.viewer;
      const isNew = box.shown !== structure.name;
      if (isNew) {
        viewer.removeAllModels();
        // Thousands of residues are too small on the screen for all their facets to be seen.
        viewer.setDefaultCartoonQuality(structure.text.length > 200_000 ? 4 : 10);
        viewer.addModel(structure.text, "pdb");
      }
      viewer.setStyle(style);
      box.reset = () => {
        viewer.setView([0, 0, 0, 0, 0, 0, 0, 1]);
        structure.turns.forEach(([angle, axis]) => viewer.rotate(angle, axis));
        viewer.zoomTo();
        viewer.render();
      };
      if (isNew) box.reset();
      viewer.render();
      box.shown = structure.name;
      box.classList.add("drawn");
    } catch (error) {
      // In a browser without WebGL the still picture stays.
      box.querySelectorAll(".structure-canvas, .structure-reset").forEach((one) => one.remove());
      box.classList.add("failed");
    }
  }

  function openViewer(box) {
    const still = box.querySelector("img");
    const canvas = element("div", { className: "structure-canvas", tabIndex: 0 });
    canvas.setAttribute("role", "application");
    canvas.setAttribute(
      "aria-label",
      `${still.alt} In 3D: the arrow keys turn it, plus and minus change its size.`,
    );
    const reset = element("button", { className: "structure-reset", textContent: "Reset the view" });
    reset.addEventListener("click", () => box.reset());
    box.append(canvas, reset);
    const viewer = $3Dmol.createViewer(canvas);
    const paint = () => viewer.setBackgroundColor(getComputedStyle(box).backgroundColor);
    new MutationObserver(paint).observe(document.documentElement, {
      attributeFilter: ["data-theme"],
    });
    paint();
    const keys = {
      ArrowLeft: () => viewer.rotate(-10, "vy"),
      ArrowRight: () => viewer.rotate(10, "vy"),
      ArrowUp: () => viewer.rotate(-10, "vx"),
      ArrowDown: () => viewer.rotate(10, "vx"),
      "+": () => viewer.zoom(1.2),
      "=": () => viewer.zoom(1.2),
      "-": () => viewer.zoom(1 / 1.2),
    };
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
      event.preventDefault();
      keys[event.key]();
    });
    // The page scrolls past a structure, by wheel or finger; one that was clicked turns instead.
    const turns = () => canvas.contains(document.activeElement);
    canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse") canvas.focus({ preventScroll: true });
    });
    canvas.addEventListener("click", () => canvas.focus({ preventScroll: true }));
    for (const kind of ["wheel", "touchstart", "touchmove", "touchend"])
      canvas.addEventListener(kind, (event) => turns() || event.stopPropagation(), {
        capture: true,
      });
    return viewer;
  }

  // A group of radio buttons, the first or the named one chosen.
  function choice(legend, options, chosen, id) {
    const buttons = options.map(({ label, value }) =>
      element(
        "label",
        {},
        element("input", { type: "radio", name: id, value, checked: value === chosen }),
        ` ${label}`,
      ),
    );
    return element("fieldset", {}, element("legend", { textContent: legend }), ...buttons);
  }

  // Says below a box what its colours mean, where they mean something.
  function addLegend(box) {
    const list = element("ul", { className: "structure-legend" });
    box.after(list);
    return (structure, color) => {
      const meaning = Object.entries(structure.colors[color]?.[1] ?? {});
      list.replaceChildren(
        ...meaning.map(([name, value]) => {
          const swatch = element("span", { className: "structure-swatch" });
          swatch.style.backgroundColor = value;
          return element("li", {}, swatch, ` ${name}`);
        }),
      );
    };
  }

  // Puts a choice of all structures of the page, and of their colours, above a box.
  function addChooser(box, settings, explain) {
    const keys = [...document.querySelectorAll('script[type="application/json"][id^="structure-"]')];
    const structures = keys.map(({ id }) => ({ value: id, label: stored(id).name }));
    const colors = Object.keys(stored(settings.structure).colors);
    const form = element(
      "form",
      { className: "structure-chooser" },
      choice("Structure", structures, settings.structure, "structure"),
      choice(
        "Coloured by",
        colors.map((name) => ({ value: name, label: name })),
        settings.color,
        "color",
      ),
    );
    const said = element("p", { className: "structure-said" });
    said.setAttribute("role", "status");
    box.before(form);
    box.after(said);

    const show = () => {
      const { structure: key, color: wanted } = Object.fromEntries(new FormData(form));
      const structure = stored(key);
      // Where a way to colour is missing, it can't be chosen, and the first one takes its place.
      const color = wanted in structure.colors ? wanted : Object.keys(structure.colors)[0];
      for (const button of form.elements.color) {
        button.disabled = !(button.value in structure.colors);
        button.checked = button.value === color;
      }
      explain(structure, color);
      said.textContent = `Shown: ${structure.name}, coloured by ${color}.`;
      // Beneath lies the picture of the same structure, from where it is shown first.
      const other = [...document.querySelectorAll(".structure")].find(
        (one) => one !== box && JSON.parse(one.dataset.settings).structure === key,
      );
      const picture = (other ?? box).querySelector("img");
      Object.assign(box.querySelector("img"), { src: picture.src, alt: picture.alt });
      return draw(box, structure, { cartoon: { colorscheme: structure.colors[color][0] } });
    };
    form.addEventListener("change", show);
    form.addEventListener("submit", (event) => event.preventDefault());
    box.show = show;
  }

  // A structure is drawn when it comes near the screen: a page opens at once.
  const near = new IntersectionObserver(
    (entries) =>
      entries
        .filter((entry) => entry.isIntersecting)
        .forEach(({ target: box }) => {
          near.unobserve(box);
          box.show();
        }),
    { rootMargin: "400px" },
  );
  document.querySelectorAll(".structure").forEach((box) => {
    const settings = JSON.parse(box.dataset.settings);
    const structure = stored(settings.structure);
    const explain = addLegend(box);
    explain(structure, settings.color);
    box.show = () => draw(box, structure, settings.style);
    if (settings.choose) addChooser(box, settings, explain);
    near.observe(box);
  });
})();
