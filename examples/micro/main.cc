// A keyword spotter on LiteRT for Microcontrollers: a clip comes in, 16-bit PCM at KWS_SAMPLE_RATE Hz on standard input,
// and the probabilities of the classes go out. On a device, take the clip from the microphone's buffer instead, each
// KWS_STEP_FRAMES * KWS_HOP_LENGTH samples, and average the probabilities of KWS_SMOOTHED windows. A word is detected
// where its average is at least KWS_THRESHOLD, and the highest of all words within KWS_APART - 1 windows on each side.
// KWS_THRESHOLD_FEW_MISSES and KWS_THRESHOLD_FEW_FALSE_ALARMS are lower and higher thresholds.
//
// With a checkout of tflite-micro in $TFLM, its library built there, and the folder of kws_model.h in $EXPORT:
//   g++ -std=c++17 -I$TFLM -I$TFLM/third_party/flatbuffers/include -I$TFLM/third_party/gemmlowp -I$EXPORT main.cc
//       libtensorflow-microlite.a -o spot && sox clip.wav -t raw -e signed -b 16 -r 16000 -c 1 - | ./spot
#include <cstdint>
#include <cstdio>

#include "front_end.h"
#include "kws_model.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

constexpr int kArenaBytes = 512 * 1024;  // the program prints what it used: take that
alignas(16) uint8_t arena[kArenaBytes];
float clip[KWS_CLIP_SAMPLES];

// What the networks of kws are made of; a device needs those of its model alone.
using Resolver = tflite::MicroMutableOpResolver<17>;

TfLiteStatus AddOperators(Resolver& resolver) {
  TF_LITE_ENSURE_STATUS(resolver.AddAdd());
  TF_LITE_ENSURE_STATUS(resolver.AddAveragePool2D());
  TF_LITE_ENSURE_STATUS(resolver.AddConv2D());
  TF_LITE_ENSURE_STATUS(resolver.AddDepthwiseConv2D());
  TF_LITE_ENSURE_STATUS(resolver.AddDequantize());
  TF_LITE_ENSURE_STATUS(resolver.AddFullyConnected());
  TF_LITE_ENSURE_STATUS(resolver.AddLogistic());
  TF_LITE_ENSURE_STATUS(resolver.AddMaxPool2D());
  TF_LITE_ENSURE_STATUS(resolver.AddMean());
  TF_LITE_ENSURE_STATUS(resolver.AddMul());
  TF_LITE_ENSURE_STATUS(resolver.AddPad());
  TF_LITE_ENSURE_STATUS(resolver.AddQuantize());
  TF_LITE_ENSURE_STATUS(resolver.AddReshape());
  TF_LITE_ENSURE_STATUS(resolver.AddResizeBilinear());
  TF_LITE_ENSURE_STATUS(resolver.AddSoftmax());
  TF_LITE_ENSURE_STATUS(resolver.AddSub());
  TF_LITE_ENSURE_STATUS(resolver.AddTranspose());
  return kTfLiteOk;
}

}  // namespace

int main() {
  Resolver resolver;
  if (AddOperators(resolver) != kTfLiteOk) return 1;
  tflite::MicroInterpreter interpreter(tflite::GetModel(kws_model), resolver, arena, kArenaBytes);
  if (interpreter.AllocateTensors() != kTfLiteOk) return 1;

  int16_t sample;
  for (int i = 0; i < KWS_CLIP_SAMPLES && std::fread(&sample, sizeof sample, 1, stdin) == 1; ++i) {
    clip[i] = sample / 32768.0f;
  }
  kws::LogMel(clip, interpreter.input(0)->data.f);
  if (interpreter.Invoke() != kTfLiteOk) return 1;
  for (int i = 0; i < KWS_CLASSES; ++i) {
    std::printf("%s %.3f\n", kws_classes[i], static_cast<double>(interpreter.output(0)->data.f[i]));
  }
  std::printf("arena: %u bytes\n", static_cast<unsigned>(interpreter.arena_used_bytes()));
}
