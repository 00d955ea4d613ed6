// Brings a stream of sound to another sample rate, band-limited: each new sample is a sum of the old ones around it,
// weighted by a windowed sinc (Smith, "Digital Audio Resampling", https://ccrma.stanford.edu/~jos/resample/).

const CROSSINGS = 64; // of the sinc with zero, on each side
const PASSED = 0.95; // of the lower of both Nyquist frequencies: what is above is cut off

export class Resampler {
  // Rates in Hz, whole numbers.
  constructor(from, to) {
    const common = greatestCommonDivisor(from, to);
    this.up = to / common;
    this.down = from / common;
    const cutoff = PASSED * Math.min(1, to / from); // as a share of the Nyquist frequency of `from`
    this.reach = from === to ? 0 : Math.ceil(CROSSINGS / cutoff);
    // A new sample stands at old sample k + phase / up. For each phase, the weights of the old samples around it.
    this.weights = Array.from({length: this.up}, (_, phase) => weights(phase / this.up, this.reach, cutoff));
    this.rest = new Float32Array(this.reach); // what comes next needs these old samples, too
    this.phase = 0;
  }

  // The new samples that the old ones so far give: Float32Array -> Float32Array.
  push(samples) {
    if (this.up === this.down) return samples;
    const old = joined(this.rest, samples);
    const found = [];
    let start = 0; // of the old samples that the next new one needs
    while (start + 2 * this.reach < old.length) {
      const taps = this.weights[this.phase];
      let sum = 0;
      for (let i = 0; i < taps.length; i++) sum += taps[i] * old[start + i];
      found.push(sum);
      this.phase += this.down;
      start += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    this.rest = old.slice(start);
    return Float32Array.from(found);
  }
}

// The weights of the 2 * reach + 1 old samples around a place that is `offset` of a sample behind the middle one.
function weights(offset, reach, cutoff) {
  const taps = Float64Array.from({length: 2 * reach + 1}, (_, i) => {
    const distance = i - reach - offset;
    const x = Math.PI * cutoff * distance;
    const hann = Math.abs(distance) > reach ? 0 : 0.5 + 0.5 * Math.cos((Math.PI * distance) / reach);
    return hann * (x === 0 ? 1 : Math.sin(x) / x);
  });
  const sum = taps.reduce((a, b) => a + b);
  return taps.map((tap) => tap / sum);
}

function greatestCommonDivisor(a, b) {
  return b ? greatestCommonDivisor(b, a % b) : a;
}

export function joined(a, b) {
  const both = new Float32Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
