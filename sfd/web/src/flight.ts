// A flight from one view to another that neither crawls nor races: it rises, travels and comes down so that what passes
// on the screen passes evenly (van Wijk and Nuij, "Smooth and efficient zooming and panning", 2003).

export interface View {
  /** Centre, in cells of the plane. */
  x: number;
  y: number;
  /** Width of what is seen, in cells. */
  w: number;
}

/** How much it rises; the authors found 1.4 most pleasant. */
const RHO = Math.SQRT2;
/** Milliseconds for each unit of the path; a flight takes between the two bounds. */
const PACE_MS = 260;
const DURATION_MS_MIN = 250;
const DURATION_MS_MAX = 1800;

export interface Flight {
  duration_ms: number;
  /** The view at t, from 0 to 1. */
  at(t: number): View;
}

export function flight(from: View, to: View): Flight {
  const dx = to.x - from.x;
  const dy = to.y - from.y;
  const distance = Math.hypot(dx, dy);
  if (distance < Math.max(from.w, to.w) * 1e-6) {
    const length = Math.log(to.w / from.w) / RHO;
    return {
      duration_ms: duration(length),
      at: (t) => ({ x: to.x, y: to.y, w: from.w * Math.exp(RHO * t * length) }),
    };
  }
  const b0 = (to.w ** 2 - from.w ** 2 + RHO ** 4 * distance ** 2) / (2 * from.w * RHO ** 2 * distance);
  const b1 = (to.w ** 2 - from.w ** 2 - RHO ** 4 * distance ** 2) / (2 * to.w * RHO ** 2 * distance);
  const r0 = -Math.asinh(b0);
  const r1 = -Math.asinh(b1);
  const length = (r1 - r0) / RHO;
  return {
    duration_ms: duration(length),
    at: (t) => {
      if (t >= 1) return { ...to };
      const s = t * length;
      const gone =
        (from.w / (RHO ** 2 * distance)) * (Math.cosh(r0) * Math.tanh(RHO * s + r0) - Math.sinh(r0));
      return {
        x: from.x + gone * dx,
        y: from.y + gone * dy,
        w: (from.w * Math.cosh(r0)) / Math.cosh(RHO * s + r0),
      };
    },
  };
}

function duration(length: number): number {
  return Math.min(DURATION_MS_MAX, Math.max(DURATION_MS_MIN, Math.abs(length) * PACE_MS));
}

/** Starts and ends gently. */
export function eased(t: number): number {
  return t < 0.5 ? 2 * t * t : 1 - (2 - 2 * t) ** 2 / 2;
}
