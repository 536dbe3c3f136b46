#include "offload/runtime/upkeep.h"

#include <algorithm>

namespace tracelift::offload {
namespace {

constexpr double kArrivalNs = 5;  // counted and let by
constexpr double kWindowMs = 30;
constexpr double kWorthwhileShare = 0.03;  // of the time that passes; less is not told from noise
constexpr double kMostLossNs = 500e3;      // no need to wait for the window's end, unless more was earned before
constexpr double kKeptShare = 0.8;         // of what was earned, from window to window
constexpr double kShareOfLosses = 0.02;    // of the time that passes, a rest included
constexpr double kFirstRestMs = 60;
constexpr double kNsPerMs = 1e6;

}  // namespace

void Upkeep::Open(const Tally& now) { opened_ = now; }

double Upkeep::BalanceNs(const Tally& now) const {
  return static_cast<double>(now.gain_ns - opened_.gain_ns) -
         kArrivalNs * static_cast<double>(now.arrivals - opened_.arrivals);
}

bool Upkeep::MayStay(const Tally& now, bool inside) {
  if (inside) return true;
  const double balance_ns = BalanceNs(now), total_ns = balance_ns + earned_ns_;
  if (balance_ns < -kMostLossNs && total_ns < 0) return false;
  const double window_ms = now.now_ms - opened_.now_ms;
  if (window_ms < kWindowMs) return true;
  const bool reached = now.arrivals != opened_.arrivals;
  const bool worthwhile = total_ns >= kWorthwhileShare * (window_ms + earned_ms_) * kNsPerMs;
  if (reached && !worthwhile) return false;
  if (reached) {
    proved_ = true;
    rests_ = 0;
    earned_ns_ = kKeptShare * total_ns;
    earned_ms_ = kKeptShare * (window_ms + earned_ms_);
  }
  Open(now);
  return true;
}

bool Upkeep::HasProved(const Tally& now) const { return proved_ || BalanceNs(now) > 0; }

double Upkeep::NextRestMs(const Tally& now) {
  proved_ = false;
  earned_ns_ = earned_ms_ = 0;
  const double for_loss_ms = -BalanceNs(now) / kNsPerMs / kShareOfLosses;
  return std::max(kFirstRestMs, for_loss_ms) * (1 << rests_++);
}

}  // namespace tracelift::offload
