// Mouse, pen and fingers on the picture: wheel and pinch zoom where they point, one finger pans, the divider is dragged.

const GRAB = 16; // CSS pixels around the divider that take hold of it

/**
 * Have a stage follow pointers.
 *
 * @param {Stage} stage
 * @param {object} heard
 * @param {(point: [number, number]|null) => void} heard.over - the film's pixel under the pointer, or null
 * @param {() => boolean} heard.marking - whether a drag marks a region instead of panning
 * @param {(region: number[], done: boolean) => void} heard.mark
 */
export function follow(stage, heard) {
  const { canvas } = stage;
  const points = new Map();
  let grip = null;

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
  };

  const onDivider = ([x]) =>
    stage.view === "swipe" && !stage.original && Math.abs(x - canvas.width * stage.divider) < GRAB * stage.density;

  const span = () => {
    const [[ax, ay], [bx, by]] = [...points.values()];
    return { distance: Math.hypot(ax - bx, ay - by), x: (ax + bx) / 2, y: (ay + by) / 2 };
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    const point = at(event);
    points.set(event.pointerId, point);
    if (points.size === 2) grip = { kind: "pinch", ...span() };
    else if (points.size === 1 && onDivider(point)) grip = { kind: "divider" };
    else if (points.size === 1 && heard.marking()) grip = { kind: "mark", from: stage.pixelAt(...point) };
    else if (points.size === 1) grip = { kind: "pan", point };
  });

  canvas.addEventListener("pointermove", (event) => {
    const point = at(event);
    if (points.has(event.pointerId)) points.set(event.pointerId, point);
    canvas.style.cursor = heard.marking() ? "crosshair" : onDivider(point) ? "ew-resize" : grip?.kind === "pan" ? "grabbing" : "grab";
    if (grip?.kind === "pinch" && points.size === 2) {
      const now = span();
      stage.pan(now.x - grip.x, now.y - grip.y);
      stage.zoomTo((stage.zoom() * now.distance) / Math.max(grip.distance, 1), now.x, now.y);
      grip = { kind: "pinch", ...now };
    } else if (grip?.kind === "divider") {
      stage.divider = Math.min(Math.max(point[0] / canvas.width, 0), 1);
      stage.invalidate();
    } else if (grip?.kind === "mark") {
      heard.mark(rectangle(grip.from, stage.pixelAt(...point)), false);
    } else if (grip?.kind === "pan") {
      stage.pan(point[0] - grip.point[0], point[1] - grip.point[1]);
      grip.point = point;
    }
    if (stage.loupe) stage.loupe = { x: point[0], y: point[1] };
    heard.over(stage.pixelAt(...point));
  });

  const rectangle = ([ax, ay], [bx, by]) => {
    const inside = (value, most) => Math.min(Math.max(value, 0), most);
    const [left, right] = [ax, bx].map((x) => inside(x, stage.size[0])).sort((a, b) => a - b);
    const [top, bottom] = [ay, by].map((y) => inside(y, stage.size[1])).sort((a, b) => a - b);
    const [x, y] = [Math.min(Math.floor(left), stage.size[0] - 1), Math.min(Math.floor(top), stage.size[1] - 1)];
    return [x, y, Math.max(Math.ceil(right) - x, 1), Math.max(Math.ceil(bottom) - y, 1)];
  };

  const let_go = (event) => {
    if (grip?.kind === "mark" && event.type === "pointerup") heard.mark(rectangle(grip.from, stage.pixelAt(...at(event))), true);
    points.delete(event.pointerId);
    grip = null;
    if (points.size === 1) grip = { kind: "pan", point: [...points.values()][0] };
  };
  canvas.addEventListener("pointerup", let_go);
  canvas.addEventListener("pointercancel", let_go);
  canvas.addEventListener("pointerleave", () => heard.over(null));

  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 33 : 1;
      stage.zoomTo(stage.zoom() * Math.exp((-event.deltaY * lines) / 500), ...at(event));
    },
    { passive: false },
  );

  canvas.addEventListener("dblclick", (event) => {
    if (stage.place.zoom === null) stage.zoomTo(1, ...at(event));
    else stage.fit();
  });
}
