// Listens: samples come in one by one, and words go out as they are said. With the tables and constants in kws_model.h,
// the front end in front_end.h, and a network. The rule of detection is that of src/kws/spotting/detect.py, window by
// window; tests/test_microcontrollers.py compares the two. No heap, no library but the standard one.
#ifndef LISTENER_H
#define LISTENER_H

#include <cstring>

#include "front_end.h"
#include "kws_model.h"

namespace kws {

struct Detection {
  int word;  // its place in kws_classes
  float score;
};

// The rule. The score of a word is its lowest probability over the newest KWS_HELD windows. A word is detected where its
// score reaches the threshold and is the highest of all words, if the last detection is KWS_APART windows ago or more. It
// is detected again only after its score has been below the threshold.
class Detector {
 public:
  explicit Detector(float threshold) : threshold_(threshold) {}

  // Takes the probabilities of the newest window. Returns true where a word is detected.
  bool Hear(const float* probabilities, Detection* found) {
    std::memcpy(windows_[heard_ % KWS_HELD], probabilities, sizeof windows_[0]);
    const int held = ++heard_ < KWS_HELD ? static_cast<int>(heard_) : KWS_HELD;
    if (pause_ > 0) --pause_;
    Detection best = {-1, -1.0f};
    for (int word = 0; word < KWS_CLASSES; ++word) {
      if (kws_classes[word][0] == '_') continue;  // _unknown_ and _silence_ are no words
      float score = windows_[0][word];
      for (int i = 1; i < held; ++i) score = windows_[i][word] < score ? windows_[i][word] : score;
      if (score < threshold_) told_[word] = false;
      if (score > best.score) best = {word, score};
    }
    if (best.score < threshold_ || told_[best.word] || pause_ > 0) return false;
    told_[best.word] = true;
    pause_ = KWS_APART;
    *found = best;
    return true;
  }

 private:
  float threshold_;
  float windows_[KWS_HELD][KWS_CLASSES] = {};
  unsigned long heard_ = 0;
  int pause_ = 0;                   // windows until a word may be detected again
  bool told_[KWS_CLASSES] = {};  // words whose score has not been below the threshold since they were detected
};

// `Network` has `const float* operator()(const float* log_mel)`: KWS_INPUT_FRAMES frames in, oldest first, probabilities
// of the KWS_CLASSES classes out. These are the frames of a whole clip, or, where the network keeps a state, the newest
// ones alone.
template <typename Network>
class Listener {
 public:
  Listener(Network& network, float threshold) : network_(network), threshold_(threshold), detector_(threshold) {}

  // Hears one sample (full scale = 1). Returns true where a word is detected; it was said before this sample.
  bool Hear(float sample, Detection* found) {
    samples_[filled_++] = sample;
    if (filled_ < KWS_FRAME_LENGTH) return false;
    filled_ -= KWS_HOP_LENGTH;
    std::memmove(log_mel_, log_mel_ + KWS_MEL_BINS, sizeof log_mel_ - KWS_MEL_BINS * sizeof(float));
    LogMelFrame(samples_, log_mel_ + (KWS_INPUT_FRAMES - 1) * KWS_MEL_BINS);
    std::memmove(samples_, samples_ + KWS_HOP_LENGTH, filled_ * sizeof(float));
    // A window ends with the frames of the first clip, and then each KWS_STEP_FRAMES frames. A state needs the steps
    // before, too, but until a clip's length was heard the answers mean nothing.
    if (++frames_ % KWS_STEP_FRAMES != KWS_FRAMES % KWS_STEP_FRAMES) return false;
    const float* probabilities = network_(log_mel_);
    return frames_ >= KWS_FRAMES && detector_.Hear(probabilities, found);
  }

  // Forgets what was heard, as after a pause of the microphone. The network's state need not be zero: what it has heard
  // before is beyond a clip's length when answers count again.
  void Reset() {
    filled_ = 0;
    frames_ = 0;
    detector_ = Detector(threshold_);
  }

 private:
  Network& network_;
  float threshold_;
  Detector detector_;
  float samples_[KWS_FRAME_LENGTH] = {};
  int filled_ = 0;
  float log_mel_[KWS_INPUT_FRAMES * KWS_MEL_BINS] = {};
  unsigned long frames_ = 0;
};

}  // namespace kws

#endif
