// What is drawn over the films: the region that is measured, the line of the swipe, the loupe.

/** Outline the region on a film that has its corner there. */
export function drawRegion(stage, [x, y]) {
  const { context, density } = stage;
  const zoom = stage.zoom();
  const [left, top, width, height] = stage.region;
  for (const [colour, line] of [["#000", 3], ["#ffd24a", 1.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = line * density;
    context.strokeRect(x + left * zoom, y + top * zoom, width * zoom, height * zoom);
  }
}

export function drawDivider({ context, canvas, density, divider }) {
  const x = Math.round(canvas.width * divider);
  context.fillStyle = "rgba(255,255,255,.85)";
  context.fillRect(x - density / 2, 0, density, canvas.height);
  context.beginPath();
  context.arc(x, canvas.height / 2, 9 * density, 0, 7);
  context.fill();
  context.fillStyle = "#000";
  context.font = `${11 * density}px sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText("⇔", x, canvas.height / 2);
}

/** Side by side, both films have the loupe at the same place. */
export function drawLoupe(stage) {
  const own = stage.paneAt(stage.loupe.x);
  const panes = stage.view === "side" && !stage.original ? stage.panes() : [own];
  for (const pane of panes) drawLens(stage, pane, stage.loupe.x - own.x + pane.x, stage.loupe.y);
}

function drawLens(stage, pane, x, y) {
  const { context, canvas, density } = stage;
  const zoom = stage.loupeZoom();
  const [px, py] = stage.pixelAt(x, y);
  const corner = [x - px * zoom, y - py * zoom];
  const radius = stage.loupeRadius();
  context.save();
  context.beginPath();
  context.rect(pane.x, 0, pane.width, canvas.height);
  context.clip();
  context.save();
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.clip();
  context.fillStyle = "#000";
  context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
  const layer = stage.layers[pane.side];
  const exact = stage.loupeLayers[pane.side];
  stage.drawLayer(layer && { base: layer.base, detail: exact || layer.detail }, corner, zoom);
  context.restore();
  context.strokeStyle = "rgba(255,255,255,.8)";
  context.lineWidth = 1.5 * density;
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.stroke();
  context.restore();
}
