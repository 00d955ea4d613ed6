// The front end of kws in C++, from the tables in kws_model.h: a clip becomes the log-Mel spectrogram that the model takes.
// No heap, no library but the standard one; tests/test_golden.py compares its numbers with those of the pipeline.
#ifndef FRONT_END_H
#define FRONT_END_H

#include <cmath>
#include <complex>
#include <utility>

#include "kws_model.h"

static_assert((KWS_FFT_LENGTH & (KWS_FFT_LENGTH - 1)) == 0, "this FFT takes powers of two: set fft_length to one");

namespace kws {

// The FFT of `values`, in place: decimation in time, the bits of the indices reversed first.
inline void Fft(std::complex<float> (&values)[KWS_FFT_LENGTH]) {
  for (int i = 1, reversed = 0; i < KWS_FFT_LENGTH; ++i) {
    int bit = KWS_FFT_LENGTH / 2;
    for (; reversed & bit; bit /= 2) reversed ^= bit;
    reversed ^= bit;
    if (i < reversed) std::swap(values[i], values[reversed]);
  }
  for (int length = 2; length <= KWS_FFT_LENGTH; length *= 2) {
    for (int k = 0; k < length / 2; ++k) {
      const double angle = -2 * 3.14159265358979323846 * k / length;
      const std::complex<float> turn(static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle)));
      for (int start = 0; start < KWS_FFT_LENGTH; start += length) {
        const std::complex<float> even = values[start + k];
        const std::complex<float> odd = values[start + k + length / 2] * turn;
        values[start + k] = even + odd;
        values[start + k + length / 2] = even - odd;
      }
    }
  }
}

// One frame of log-Mel, KWS_MEL_BINS floats, from KWS_FRAME_LENGTH samples (full scale = 1).
inline void LogMelFrame(const float* samples, float* log_mel) {
  static std::complex<float> values[KWS_FFT_LENGTH];
  for (int i = 0; i < KWS_FFT_LENGTH; ++i) {
    values[i] = i < KWS_FRAME_LENGTH ? samples[i] * kws_window[i] : 0.0f;
  }
  Fft(values);
  const float* weight = kws_mel_weights;
  for (int mel = 0; mel < KWS_MEL_BINS; ++mel) {
    float power = 0.0f;
    for (int i = 0; i < kws_mel_count[mel]; ++i) power += *weight++ * std::norm(values[kws_mel_first[mel] + i]);
    log_mel[mel] = std::log(power + KWS_LOG_OFFSET);
  }
}

// The log-Mel spectrogram of a clip: KWS_CLIP_SAMPLES samples in, KWS_FRAMES times KWS_MEL_BINS floats out.
inline void LogMel(const float* samples, float* log_mel) {
  for (int frame = 0; frame < KWS_FRAMES; ++frame) {
    LogMelFrame(samples + frame * KWS_HOP_LENGTH, log_mel + frame * KWS_MEL_BINS);
  }
}

}  // namespace kws

#endif
