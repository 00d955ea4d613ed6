// The microphone: blocks of samples at the model's rate, or an error whose text says what to do.

import {Resampler} from "./resampler.js";

const REASONS = {
  NotAllowedError: "The microphone was refused. Allow it beside the address of this page, then try again.",
  NotFoundError: "No microphone was found. Connect one, then try again.",
  NotReadableError: "The microphone does not answer. Another program may be using it.",
};

export class MicrophoneError extends Error {}

export class Microphone {
  // Calls `hear` with each block (Float32Array at `rate`), and `gone` if the microphone is taken away.
  static async open(rate, hear, gone) {
    if (!window.isSecureContext) {
      throw new MicrophoneError(`Browsers give no microphone to ${location.origin}: it is not a secure address. ` +
        "Open this page over https, or on the machine that serves it, as http://127.0.0.1.");
    }
    const microphone = new Microphone();
    try {
      // As in training: what browsers do for calls would change the sound.
      const asked = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
      microphone.stream = await navigator.mediaDevices.getUserMedia({audio: asked});
      // At its own rate: Firefox connects no microphone to a context of another one (its bug 1674892).
      microphone.context = new AudioContext();
      await microphone.context.audioWorklet.addModule("worklet.js");
      const source = microphone.context.createMediaStreamSource(microphone.stream);
      const worklet = new AudioWorkletNode(microphone.context, "microphone", {
        numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit", // several channels become their mean
      });
      const resampler = new Resampler(microphone.context.sampleRate, rate);
      worklet.port.onmessage = ({data}) => hear(resampler.push(data));
      source.connect(worklet);
      for (const track of microphone.stream.getTracks()) track.onended = gone;
      await microphone.context.resume();
    } catch (error) {
      microphone.close();
      throw new MicrophoneError(REASONS[error.name] ?? `The microphone does not work: ${error.message}`);
    }
    return microphone;
  }

  close() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.context?.close();
  }
}
