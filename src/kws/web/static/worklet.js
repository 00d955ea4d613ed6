// Runs in the thread of the sound: collects what the microphone gives, and passes it on in blocks.

const BLOCK = 2048; // samples

registerProcessor("microphone", class extends AudioWorkletProcessor {
  block = new Float32Array(BLOCK);
  filled = 0;

  process([[samples]]) {
    if (samples) { // else nothing is connected yet
      this.block.set(samples, this.filled); // 128 samples each time: BLOCK is a multiple
      this.filled += samples.length;
      if (this.filled === BLOCK) {
        this.port.postMessage(this.block.slice());
        this.filled = 0;
      }
    }
    return true;
  }
});
