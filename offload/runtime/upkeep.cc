#include "offload/runtime/upkeep.h"

#include <algorithm>

namespace tracelift::offload {
namespace {

constexpr double kArrivalNs = 5;  // counted and let by
constexpr double kWindowMs = 30;
constexpr double kWorthwhileShare = 0.03;  // of the time that passes; less is not told from noise
constexpr double kMostLossNs = 500e3;      // no need to wait for the window's end
constexpr double kShareOfLosses = 0.02;    // of the time that passes, a rest included
constexpr double kFirstRestMs = 60;
constexpr double kNsPerMs = 1e6;

}  // namespace

void Upkeep::Open(const Tally& now) { before_ = opened_ = now; }

double Upkeep::BalanceNs(const Tally& now) const {
  return static_cast<double>(now.gain_ns - before_.gain_ns) -
         kArrivalNs * static_cast<double>(now.arrivals - before_.arrivals);
}

bool Upkeep::MayStay(const Tally& now, bool inside) {
  if (inside) return true;
  const double balance_ns = BalanceNs(now);
  if (balance_ns < -kMostLossNs) return false;
  if (now.now_ms - opened_.now_ms < kWindowMs) return true;
  const bool reached = now.arrivals != before_.arrivals;
  const bool worthwhile = balance_ns >= kWorthwhileShare * (now.now_ms - before_.now_ms) * kNsPerMs;
  if (reached && !worthwhile) return false;
  if (reached) {
    proved_ = true;
    rests_ = 0;
  }
  before_ = opened_;
  opened_ = now;
  return true;
}

bool Upkeep::HasProved(const Tally& now) const { return proved_ || BalanceNs(now) > 0; }

double Upkeep::NextRestMs(const Tally& now) {
  proved_ = false;
  const double for_loss_ms = -BalanceNs(now) / kNsPerMs / kShareOfLosses;
  before_ = opened_;  // what came before is paid for
  return std::max(kFirstRestMs, for_loss_ms) * (1 << rests_++);
}

}  // namespace tracelift::offload
