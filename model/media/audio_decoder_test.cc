#include "model/media/audio_decoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/media/testing/test_media.h"

namespace facet {
namespace {

using ::facet::testing::CpuSeconds;
using ::facet::testing::DamagedCopies;
using ::facet::testing::PeakMemoryGrowthBytes;
using ::facet::testing::ReadMedia;
using ::facet::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr int64_t kMegabyte = 1'000'000;

// A WAV file of one channel of this form (the fmt chunk's numbers).
std::string Wav(int form, uint64_t samples_per_second, uint64_t sample_bytes,
                absl::string_view data) {
  const auto number = [](uint64_t value, int bytes) {
    return std::string(reinterpret_cast<const char*>(&value), bytes);  // little endian, as WAV is
  };
  return absl::StrCat("RIFF", number(36 + data.size(), 4), "WAVEfmt ", number(16, 4),
                      number(form, 2), number(1, 2), number(samples_per_second, 4),
                      number(samples_per_second * sample_bytes, 4), number(sample_bytes, 2),
                      number(8 * sample_bytes, 2), "data", number(data.size(), 4), data);
}

std::string PcmWav(uint64_t samples_per_second, const std::vector<int16_t>& samples) {
  return Wav(1, samples_per_second, 2, facet::testing::AsBytes(samples));
}

// The amplitude of a sine of 440 Hz in the samples, wherever it begins.
double ToneAmplitude(const std::vector<float>& samples) {
  double sine = 0;
  double cosine = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    const double angle = 2 * M_PI * 440 * static_cast<double>(i) / kAudioSamplesPerSecond;
    sine += samples[i] * std::sin(angle);
    cosine += samples[i] * std::cos(angle);
  }
  return 2 * std::hypot(sine, cosine) / static_cast<double>(samples.size());
}

double RootMeanSquare(const std::vector<float>& samples) {
  double sum = 0;
  for (const float sample : samples) sum += double{sample} * sample;
  return std::sqrt(sum / static_cast<double>(samples.size()));
}

// Given half a second of a tone, 0.5 on the left and 0.25 on the right, in each format, rate and
// depth, expect that tone and nothing else: the mean of the channels, at the right length.
TEST(AudioDecoderTest, DecodesEachFormat) {
  for (const char* name :
       {"tone_u8.wav", "tone_s16.wav", "tone_s24.wav", "tone_f32.wav", "tone_mulaw.wav", "tone.mp3",
        "tone.flac", "tone_opus.ogg", "tone_vorbis.ogg", "tone_aac.m4a", "tone_alac.m4a"}) {
    SCOPED_TRACE(name);
    const auto samples = DecodeAudio(ReadMedia(name));
    ASSERT_OK(samples);
    // Lossy formats come in frames of up to 72 ms.
    EXPECT_NEAR(static_cast<double>(samples->size()), 8'000, 1'200);
    const double scale = 8'000.0 / static_cast<double>(samples->size());
    EXPECT_NEAR(ToneAmplitude(*samples), 0.375 * scale, 0.02);
    EXPECT_NEAR(RootMeanSquare(*samples), 0.375 / std::sqrt(2) * std::sqrt(scale), 0.02);
    RecordProperty(name, absl::StrCat(samples->size(), " samples, amplitude ",
                                      ToneAmplitude(*samples) / scale));
  }
}

// Given 16-bit samples of the wanted form, the extremes among them, expect each divided by 32768.
TEST(AudioDecoderTest, KeepsSixteenBitSamplesExactly) {
  std::vector<int16_t> samples;
  for (int i = -32'768; i <= 32'767; i += 7) samples.push_back(static_cast<int16_t>(i));
  samples.push_back(32'767);
  ASSERT_OK_AND_ASSIGN(const std::vector<float> decoded,
                       DecodeAudio(PcmWav(kAudioSamplesPerSecond, samples)));
  ASSERT_EQ(decoded.size(), samples.size());
  for (size_t i = 0; i < samples.size(); ++i) {
    ASSERT_EQ(decoded[i], static_cast<float>(samples[i]) / 32'768) << i;
  }
}

// Given just the longest sound, at rates that are no divisors, expect it whole; given one a tenth
// of a second longer, expect the error to say the limit.
TEST(AudioDecoderTest, TakesThirtySecondsAndNoMore) {
  for (const char* name : {"thirty_seconds.flac", "thirty_seconds_44100.flac"}) {
    ASSERT_OK_AND_ASSIGN(const std::vector<float> samples, DecodeAudio(ReadMedia(name)));
    EXPECT_NEAR(static_cast<double>(samples.size()), 480'000, 1) << name;
  }
  EXPECT_THAT(DecodeAudio(ReadMedia("over_thirty_seconds.flac")),
              StatusIs(kInvalid, HasSubstr("audio: is longer than the limit of 30 s")));
}

// Given no samples, or no sound at all, expect an error that says so.
TEST(AudioDecoderTest, RefusesWhatHoldsNoSound) {
  EXPECT_THAT(DecodeAudio(ReadMedia("no_samples.wav")),
              StatusIs(kInvalid, HasSubstr("holds no samples")));
  EXPECT_THAT(DecodeAudio(PcmWav(16'000, {})), StatusIs(kInvalid, HasSubstr("holds no samples")));
  EXPECT_THAT(DecodeAudio(""), StatusIs(kInvalid, HasSubstr("audio: ")));
  EXPECT_THAT(DecodeAudio("no sound either"), StatusIs(kInvalid, HasSubstr("audio: ")));
  EXPECT_THAT(DecodeAudio(ReadMedia("h264.mp4")), StatusIs(kInvalid, HasSubstr("holds no audio")));
  EXPECT_THAT(DecodeAudio(ReadMedia("rgb.png")), StatusIs(kInvalid, HasSubstr("known format")));
}

// Given samples that are no numbers, expect an error, for they would spoil every token after them;
// given ones beyond full scale, expect full scale.
TEST(AudioDecoderTest, BoundsFloatSamples) {
  const std::vector<float> loud = {0.5F, 2.0F, -3.0F, std::numeric_limits<float>::infinity()};
  ASSERT_OK_AND_ASSIGN(
      const std::vector<float> samples,
      DecodeAudio(Wav(3, kAudioSamplesPerSecond, 4, facet::testing::AsBytes(loud))));
  EXPECT_THAT(samples, ::testing::ElementsAre(0.5F, 1.0F, -1.0F, 1.0F));
  const std::vector<float> broken = {0.5F, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_THAT(DecodeAudio(Wav(3, kAudioSamplesPerSecond, 4, facet::testing::AsBytes(broken))),
              StatusIs(kInvalid, HasSubstr("not a number")));
}

// Given a rate at which a few samples are hours, expect it refused before it is resampled.
TEST(AudioDecoderTest, RefusesAbsurdRates) {
  const std::vector<int16_t> samples(50'000);
  for (const uint64_t rate : {1, 1'999, 384'001, 2'000'000'000}) {
    absl::Status status;
    EXPECT_LT(CpuSeconds([&] { status = DecodeAudio(PcmWav(rate, samples)).status(); }), 0.1);
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr(absl::StrCat("sample rate ", rate, " Hz"))));
  }
}

// Given a file over the byte limit, or one whose decoding takes too long, expect it named.
TEST(AudioDecoderTest, NamesTheLimit) {
  const std::string file = ReadMedia("tone.mp3");
  EXPECT_THAT(DecodeAudio(file, {.bytes_max = 100}),
              StatusIs(kInvalid, HasSubstr("bytes is over the limit of 100")));
  EXPECT_THAT(DecodeAudio(file, {.cpu_ms_max = 0}),
              StatusIs(kInvalid, AllOf(HasSubstr("audio: "), HasSubstr("processor time"))));
}

// Given hours of silence in a small file (a FLAC of five hours; an MP3 of 1 MB whose frames, of 72
// bytes, are 72 ms each), expect it refused once the limit is decoded: time and memory for 30 s.
TEST(AudioDecoderBombTest, RefusesHoursWhileDecoding) {
  const std::string frames = ReadMedia("silent_frames.mp3");
  std::string mp3;
  while (mp3.size() < kMegabyte) mp3 += frames;
  for (const std::string& file : {ReadMedia("five_hours.flac"), mp3}) {
    absl::Status status;
    double seconds = 0;
    const int64_t growth = PeakMemoryGrowthBytes(
        [&] { seconds = CpuSeconds([&] { status = DecodeAudio(file).status(); }); });
    EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("limit of 30 s")));
    EXPECT_LT(seconds, 1.0);
    EXPECT_LT(growth, 40 * kMegabyte);
    RecordProperty(absl::StrCat("bomb_of_", file.size(), "_bytes"),
                   absl::StrCat(seconds * 1e3, " ms, ", growth / 1e6, " MB"));
  }
}

// Given an M4A whose table claims a billion samples, expect it refused with no memory taken.
TEST(AudioDecoderBombTest, RefusesTablesThatClaimTooMuch) {
  std::string file = ReadMedia("tone_aac.m4a");
  const size_t table = file.find("stsz");
  ASSERT_NE(table, std::string::npos);
  file[table + 12] = '\x40';
  absl::Status status;
  EXPECT_LT(PeakMemoryGrowthBytes([&] { status = DecodeAudio(file).status(); }), 5 * kMegabyte);
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("audio: tables claim")));
}

// Given each format cut at every sixteenth and with bytes changed, expect an error or a sound, in
// little time.
TEST(AudioDecoderTest, SurvivesDamage) {
  constexpr uint32_t kSeed = 20262;
  constexpr int kFlips = 60;
  int sounds = 0;
  int errors = 0;
  for (const char* name : {"tone_s16.wav", "tone_mulaw.wav", "tone.mp3", "tone.flac",
                           "tone_opus.ogg", "tone_vorbis.ogg", "tone_aac.m4a", "tone_alac.m4a"}) {
    const auto copies = DamagedCopies(ReadMedia(name), kFlips, kSeed);
    for (size_t i = 0; i < copies.size(); ++i) {
      SCOPED_TRACE(absl::StrCat(name, " copy ", i, " seed ", kSeed));
      absl::StatusOr<std::vector<float>> samples;
      EXPECT_LT(CpuSeconds([&] { samples = DecodeAudio(copies[i]); }), 1.0);
      ++(samples.ok() ? sounds : errors);
      if (samples.ok()) {
        EXPECT_FALSE(samples->empty());
        EXPECT_LE(samples->size(), 480'000U);
      } else {
        EXPECT_THAT(samples.status(), StatusIs(kInvalid, HasSubstr("audio: ")));
      }
    }
  }
  EXPECT_GT(sounds, 0);
  EXPECT_GT(errors, 0);
}

}  // namespace
}  // namespace facet
