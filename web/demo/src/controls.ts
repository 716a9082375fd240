/** Keyboard, mouse and touch input on a canvas. */

export class Controls {
  /** The position of the pointer relative to `middle`, in CSS pixels. */
  readonly pointer = { isDown: false, x: 0, y: 0 };
  private readonly keys = new Set<string>();

  /** @param middle: returns the origin of the pointer's position, on the canvas. */
  constructor(canvas: HTMLCanvasElement, middle: () => { x: number; y: number }) {
    addEventListener("keydown", this.onKey);
    addEventListener("keyup", this.onKey);
    const point = (event: PointerEvent) => {
      const box = canvas.getBoundingClientRect();
      this.pointer.x = event.clientX - box.left - middle().x;
      this.pointer.y = event.clientY - box.top - middle().y;
      if (event.type === "pointerdown") {
        this.pointer.isDown = true;
        canvas.focus({ preventScroll: true });
      }
    };
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("pointermove", point);
    whenReleased(canvas, () => (this.pointer.isDown = false));
  }

  /** Returns 1 if one of these keys is down, else 0. */
  down(...codes: string[]): number {
    return codes.some((code) => this.keys.has(code)) ? 1 : 0;
  }

  stop(): void {
    removeEventListener("keydown", this.onKey);
    removeEventListener("keyup", this.onKey);
  }

  private readonly onKey = (event: KeyboardEvent) => {
    if (event.type === "keyup") this.keys.delete(event.code);
    if (["INPUT", "BUTTON", "SELECT", "A"].includes((event.target as HTMLElement).tagName)) return; // the element handles its own keys
    if (event.type === "keydown") this.keys.add(event.code);
    if (event.code === "Space" || event.code.startsWith("Arrow")) event.preventDefault();
  };
}

export function whenReleased(element: HTMLElement, act: () => void): void {
  for (const name of ["pointerup", "pointercancel", "pointerleave"] as const) element.addEventListener(name, act);
}
