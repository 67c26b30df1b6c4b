/** The sheet to draw on: strokes of a finger, a mouse or a pen. */

const STROKE_WIDTH = 0.075; // of the side: about that of MNIST's digits
const NETWORK_SIDE = 280;

export class Pad {
  #canvas;
  #strokes = [];
  #picture = null;
  #drawing = null;
  #onChange;

  /**
   * @param {HTMLCanvasElement} canvas square
   * @param {(finished: boolean) => void} onChange called while a stroke grows and when it ends
   */
  constructor(canvas, onChange) {
    this.#canvas = canvas;
    this.#onChange = onChange;
    canvas.addEventListener("pointerdown", (event) => this.#start(event));
    canvas.addEventListener("pointermove", (event) => this.#grow(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.#end(event));
    }
    new ResizeObserver(() => this.render()).observe(canvas);
  }

  get isEmpty() {
    return !this.#picture && this.#strokes.length === 0;
  }

  get hasStrokes() {
    return this.#strokes.length > 0;
  }

  clear() {
    this.#picture?.close();
    this.#picture = null;
    this.#strokes = [];
    this.#drawing = null;
    this.render();
  }

  undo() {
    this.#strokes.pop();
    this.render();
  }

  /** Shows a picture in place of strokes. */
  show(bitmap) {
    this.clear();
    this.#picture = bitmap;
    this.render();
  }

  /** @returns {ImageData} the strokes in white on black, the same on every screen */
  pixels() {
    const canvas = new OffscreenCanvas(NETWORK_SIDE, NETWORK_SIDE);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillRect(0, 0, NETWORK_SIDE, NETWORK_SIDE);
    this.#draw(context, NETWORK_SIDE, "white");
    return context.getImageData(0, 0, NETWORK_SIDE, NETWORK_SIDE);
  }

  /** Draws all anew: after a change of size, of theme, of anything. */
  render() {
    const side = Math.round(this.#canvas.clientWidth * devicePixelRatio);
    this.#canvas.width = this.#canvas.height = side;
    const context = this.#canvas.getContext("2d");
    if (this.#picture) {
      const { width, height } = this.#picture;
      const scale = side / Math.max(width, height);
      const [w, h] = [width * scale, height * scale];
      context.drawImage(this.#picture, (side - w) / 2, (side - h) / 2, w, h);
    }
    this.#draw(context, side, getComputedStyle(this.#canvas).color);
  }

  #draw(context, side, colour) {
    context.strokeStyle = colour;
    context.lineWidth = side * STROKE_WIDTH;
    context.lineCap = context.lineJoin = "round";
    for (const stroke of this.#strokes) {
      const points = stroke.map(([x, y]) => [x * side, y * side]);
      context.beginPath();
      context.moveTo(...points[0]);
      // Curves through the middles between points: no corners where the hand made none.
      for (let i = 1; i < points.length - 1; i++) {
        const middle = [0, 1].map((axis) => (points[i][axis] + points[i + 1][axis]) / 2);
        context.quadraticCurveTo(...points[i], ...middle);
      }
      context.lineTo(...points.at(-1));
      context.stroke();
    }
  }

  #start(event) {
    if (this.#drawing !== null || event.button !== 0) return;
    event.preventDefault();
    if (this.#picture) this.clear();
    this.#canvas.setPointerCapture(event.pointerId);
    this.#drawing = event.pointerId;
    this.#strokes.push([this.#place(event)]);
    this.#changed(false);
  }

  #grow(event) {
    if (event.pointerId !== this.#drawing) return;
    const events = event.getCoalescedEvents?.() ?? [];
    this.#strokes.at(-1).push(...(events.length ? events : [event]).map((e) => this.#place(e)));
    this.#changed(false);
  }

  #end(event) {
    if (event.pointerId !== this.#drawing) return;
    this.#drawing = null;
    this.#changed(true);
  }

  #place(event) {
    const box = this.#canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  #changed(finished) {
    this.render();
    this.#onChange(finished);
  }
}
