// A keyword spotter on LiteRT for Microcontrollers: sound comes in, 16-bit PCM at KWS_SAMPLE_RATE Hz on standard input,
// and words go out as they are said. On a device, take the samples from the microphone's buffer instead.
//
// With a checkout of tflite-micro in $TFLM, its library built there, and the folder of kws_model.h in $EXPORT:
//   g++ -std=c++17 -I$TFLM -I$TFLM/third_party/flatbuffers/include -I$TFLM/third_party/gemmlowp -I$EXPORT main.cc
//       libtensorflow-microlite.a -o listen && sox talk.wav -t raw -e signed -b 16 -r 16000 -c 1 - | ./listen
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "kws_model.h"
#include "listener.h"
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/micro_resource_variable.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

constexpr int kArenaBytes = 512 * 1024;  // the program prints what it used: take that
alignas(16) uint8_t arena[kArenaBytes];

// What the networks of kws are made of; a device needs those of its model alone.
using Resolver = tflite::MicroMutableOpResolver<23>;

TfLiteStatus AddOperators(Resolver& resolver) {
  TF_LITE_ENSURE_STATUS(resolver.AddAdd());
  TF_LITE_ENSURE_STATUS(resolver.AddAssignVariable());
  TF_LITE_ENSURE_STATUS(resolver.AddAveragePool2D());
  TF_LITE_ENSURE_STATUS(resolver.AddCallOnce());
  TF_LITE_ENSURE_STATUS(resolver.AddConcatenation());
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
  TF_LITE_ENSURE_STATUS(resolver.AddReadVariable());
  TF_LITE_ENSURE_STATUS(resolver.AddReshape());
  TF_LITE_ENSURE_STATUS(resolver.AddResizeBilinear());
  TF_LITE_ENSURE_STATUS(resolver.AddSoftmax());
  TF_LITE_ENSURE_STATUS(resolver.AddStridedSlice());
  TF_LITE_ENSURE_STATUS(resolver.AddSub());
  TF_LITE_ENSURE_STATUS(resolver.AddTranspose());
  TF_LITE_ENSURE_STATUS(resolver.AddVarHandle());
  return kTfLiteOk;
}

// The network, with its state if it has one.
class Network {
 public:
  explicit Network(tflite::MicroInterpreter& interpreter) : interpreter_(interpreter) {}

  const float* operator()(const float* log_mel) {
    std::memcpy(interpreter_.input(0)->data.f, log_mel, KWS_INPUT_FRAMES * KWS_MEL_BINS * sizeof(float));
    if (interpreter_.Invoke() != kTfLiteOk) std::exit(1);
    return interpreter_.output(0)->data.f;
  }

 private:
  tflite::MicroInterpreter& interpreter_;
};

}  // namespace

int main() {
  static Resolver resolver;
  if (AddOperators(resolver) != kTfLiteOk) return 1;
  tflite::MicroAllocator* allocator = tflite::MicroAllocator::Create(arena, kArenaBytes);
  tflite::MicroResourceVariables* states =
      KWS_STATES ? tflite::MicroResourceVariables::Create(allocator, KWS_STATES) : nullptr;
  static tflite::MicroInterpreter interpreter(tflite::GetModel(kws_model), resolver, allocator, states);
  if (interpreter.AllocateTensors() != kTfLiteOk) return 1;
  std::fprintf(stderr, "arena: %u bytes\n", static_cast<unsigned>(interpreter.arena_used_bytes()));

  Network network(interpreter);
  static kws::Listener<Network> listener(network, KWS_THRESHOLD);  // or KWS_THRESHOLD_FEW_MISSES, …_FEW_FALSE_ALARMS
  int16_t sample;
  kws::Detection found;
  for (unsigned long samples = 1; std::fread(&sample, sizeof sample, 1, stdin) == 1; ++samples) {
    if (listener.Hear(sample / 32768.0f, &found)) {
      std::printf("%.2f s  %s  %.3f\n", static_cast<double>(samples) / KWS_SAMPLE_RATE, kws_classes[found.word],
                  static_cast<double>(found.score));
      std::fflush(stdout);
    }
  }
}
