/** A line chart of the last values of one figure, with the newest on the right. */

const POINTS_MAX = 300;

export class Chart {
  private readonly points: number[] = [];

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly now: HTMLElement,
    private readonly format: (value: number) => string,
  ) {}

  add(value: number): void {
    this.points.push(value);
    if (this.points.length > POINTS_MAX) this.points.shift();
    this.now.textContent = this.format(value);
    this.draw();
  }

  private draw(): void {
    const { canvas, points } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = width * devicePixelRatio;
    canvas.height = height * devicePixelRatio;
    const context = canvas.getContext("2d")!;
    const style = getComputedStyle(document.documentElement);
    context.scale(devicePixelRatio, devicePixelRatio);
    context.strokeStyle = style.getPropertyValue("--line");
    context.strokeRect(0.5, 0.5, width - 1, height - 1);
    const most = Math.max(...points, 1e-9) * 1.15;
    const toX = (at: number) => width - (points.length - 1 - at) * (width / POINTS_MAX) - 1;
    const toY = (value: number) => height - 2 - (value / most) * (height - 4);
    context.beginPath();
    points.forEach((value, at) => context.lineTo(toX(at), toY(value)));
    context.strokeStyle = style.getPropertyValue("--accent");
    context.lineWidth = 1.5;
    context.stroke();
    context.lineTo(toX(points.length - 1), height);
    context.lineTo(toX(0), height);
    context.globalAlpha = 0.12;
    context.fillStyle = style.getPropertyValue("--accent");
    context.fill();
  }
}
