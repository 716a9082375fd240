/** Quaternions (x, y, z, w) as a form and three numbers. See docs/protocol.md, "Quaternions". */

export const FORM_BITS = 8;

// The places of (dropped, a, b, c) in (x, y, z, w), by form / 8: the permutations of (w, x, y, z) in lexicographic order.
const ORDERS = permutations([3, 0, 1, 2]);

function permutations(items: readonly number[]): number[][] {
  if (!items.length) return [[]];
  return items.flatMap((item) => permutations(items.filter((other) => other !== item)).map((rest) => [item, ...rest]));
}

/** Writes the unit quaternion of a form and its numbers into an array. Any input is a rotation. */
export function unpack(form: number, a: number, b: number, c: number, into: number[]): number[] {
  const [dropped, first, second, third] = (ORDERS[form >> 3] ?? ORDERS[0]!) as [number, number, number, number];
  const squares = a * a + b * b + c * c;
  const scale = 1 / Math.max(1, Math.sqrt(squares));
  into.length = 4;
  into[dropped] = Math.sqrt(Math.max(0, 1 - squares));
  into[first] = (form & 1 ? -a : a) * scale;
  into[second] = (form & 2 ? -b : b) * scale;
  into[third] = (form & 4 ? -c : c) * scale;
  return into;
}

/** Writes the rotation between two unit quaternions into an array, by the shorter way and at a constant angular speed. */
export function slerp(here: readonly number[], there: readonly number[], fraction: number, into: number[] = []): number[] {
  let cosine = 0;
  for (let index = 0; index < 4; index++) cosine += here[index]! * there[index]!;
  const angle = Math.acos(Math.min(1, Math.abs(cosine)));
  const isNear = angle < 1e-4; // the weights are then the same as those of a line
  const first = isNear ? 1 - fraction : Math.sin((1 - fraction) * angle) / Math.sin(angle);
  const second = (isNear ? fraction : Math.sin(fraction * angle) / Math.sin(angle)) * (cosine < 0 ? -1 : 1);
  into.length = 4;
  for (let index = 0; index < 4; index++) into[index] = first * here[index]! + second * there[index]!;
  const length = Math.hypot(...into);
  for (let index = 0; index < 4; index++) into[index] = into[index]! / length;
  return into;
}
